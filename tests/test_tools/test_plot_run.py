import io
import json
import re
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmareaaware.visualization.curves import draw_curves, read_run


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode="tensor"):
        loss = self.layer(inputs).mean()
        return [{}] if mode == "predict" else dict(loss=loss)


class Counter(BaseMetric):
    """The number of the validation."""

    number = 0

    def process(self, data_batch, data_samples):
        self.results.append(None)

    def compute_metrics(self, results):
        self.number += 1
        return dict(mAP=self.number)


@pytest.mark.parametrize("by_epoch", [True, False], ids=["epochs", "iterations"])
def test_logs_of_mmengine(by_epoch, tmp_path):
    """Four epochs of 3 iterations, the second and the last validated."""

    def loader(sampler):
        return dict(
            dataset=[dict(inputs=torch.ones(1))] * 3,
            batch_size=1,
            sampler=dict(type=sampler),
            collate_fn=dict(type="default_collate"),
        )

    Runner(
        Model(),
        work_dir=str(tmp_path),
        train_dataloader=loader("DefaultSampler" if by_epoch else "InfiniteSampler"),
        val_dataloader=loader("DefaultSampler"),
        train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=2)
        if by_epoch
        else dict(by_epoch=False, max_iters=12, val_interval=6),
        val_cfg=dict(),
        val_evaluator=Evaluator(Counter()),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        log_processor=dict(by_epoch=by_epoch),
        default_scope="mmengine",
        experiment_name=tmp_path.name,
    ).train()
    training, validation = read_run(tmp_path)
    assert training["loss"][0].tolist() == list(range(1, 13))
    assert validation["mAP"].tolist() == [[6, 12], [1, 2]]


def write_log(work_dir, timestamp, *lines):
    path = work_dir / timestamp / "vis_data/scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def training(iteration, epoch, **scalars) -> dict:
    return dict(scalars, epoch=epoch, iter=iteration, step=iteration)


def validation(epoch, **scalars) -> dict:
    return dict(scalars, data_time=0.1, time=0.2, step=epoch)


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    write_log(
        tmp_path,
        "20260101_000000",
        training(10, 1, loss=4.0),
        validation(1, mAP=0.1),
        training(20, 2, loss=3.0),
        validation(2, mAP=0.2),
        training(30, 3, loss=9.0),
        validation(3, mAP=0.9),
        training(40, 4, loss=9.0),
    )
    write_log(
        tmp_path,
        "20260102_000000",
        training(30, 3, loss=2.0),
        validation(3, mAP=0.3),
    )
    write_log(tmp_path, "20260103_000000", validation(0, mAP=0.8))  # not of a training
    training_curves, validation_curves = read_run(tmp_path)
    assert training_curves["loss"].tolist() == [[10, 20, 30], [4, 3, 2]]
    assert validation_curves["mAP"].tolist() == [[10, 20, 30], [0.1, 0.2, 0.3]]


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    write_log(tmp_path, "20260101_000000", training(10, 1, loss=4.0))
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    log.write_text(log.read_text() + '\n{"iter": 20, "lo')
    curves, _ = read_run(tmp_path)
    assert curves["loss"].tolist() == [[10], [4]]


@pytest.fixture
def work_dirs(tmp_path):
    """A YOLO with the penalty and a two-stage detector."""
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    write_log(
        ours,
        "20260101_000000",
        *(
            training(
                10 * i,
                i,
                lr=0.1,
                base_lr=0.1,
                loss=6.0 - 2 * i,
                loss_cls=1.0,
                loss_bg=0.0,
                lambda_bg=float(i),
                bg_penalty_mean=0.5,
                num_pos=3,
                grad_norm=1.0,
            )
            for i in (1, 2)
        ),
        validation(
            2,
            **{
                "coco/bbox_mAP": 0.3,
                "coco/bbox_mAP_50": 0.5,
                "coco/bbox_mAP_s": 0.1,
                "coco/bbox_mAP_l": -1.0,
                "coco/bbox_mAP_copypaste": "0.3 0.5",
                "coco/car_precision": 0.3,
                "background/fp_per_image_recall0.5": 2.0,
                "background/bg_fp_per_image_recall0.5": 1.0,
                "background/bg_fp_per_image_recall0.8": float("nan"),
            },
        ),
    )
    write_log(
        stock,
        "20260101_000000",
        training(
            10,
            1,
            lr=0.2,
            loss_rpn_cls=0.1,
            loss_rpn_bbox=0.2,
            loss=5.0,
            acc=9.0,
            **{"detections_0.3": 1.5},
        ),
        validation(1, **{"coco/bbox_mAP": 0.2}),
    )
    return ours, stock


def panels(figure) -> dict:
    """Title of a panel: its lines, as a list of colour, x and y."""
    return {
        axis.get_title(): [
            (line.get_color(), *(v.tolist() for v in line.get_data()))
            for line in axis.lines
        ]
        for axis in figure.axes
        if axis.axison
    }


def test_panels_of_two_runs(work_dirs):
    runs = {path.name: read_run(path) for path in work_dirs}
    figure = draw_curves(runs)
    found = panels(figure)
    assert list(found) == [
        "loss",
        "loss_cls",
        "loss_bg",
        "loss_rpn_cls",
        "loss_rpn_bbox",
        "bg_penalty_mean",
        "acc",
        "detections_0.3",
        "lambda_bg",
        "lr",
        "coco/bbox_mAP",
        "coco/bbox_mAP_50",
        "coco/bbox_mAP_s",
        "background/bg_fp_per_image_recall0.5",
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["ours", "stock"]
    ours, stock = (handle.get_color() for handle in legend.legend_handles)
    assert ours != stock
    assert found["loss"] == [(ours, [10, 20], [4, 2]), (stock, [10], [5])]
    assert found["coco/bbox_mAP"] == [
        (ours, [20], [0.3]),
        (stock, [10], [0.2]),
    ]
    assert found["acc"] == [(stock, [10], [9])]


def test_more_runs_than_colours_differ_in_their_lines(work_dirs):
    run = read_run(work_dirs[0])
    figure = draw_curves({f"run {i}": run for i in range(9)})
    lines = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(lines) == 9


def test_smoothing_leaves_schedules_and_validations(tmp_path):
    for i, loss in enumerate((4.0, 2.0, 3.0, float("nan"), 1.0, 5.0), 1):
        write_log(
            tmp_path,
            f"2026010{i}_000000",
            training(i, i, loss=loss, lr=float(i), bg_penalty_mean=float(i)),
            validation(i, mAP=float(i)),
        )
    found = panels(draw_curves({"run": read_run(tmp_path)}, smooth=2))
    values = {title: lines[0][2] for title, lines in found.items()}
    nan = float("nan")
    assert values["loss"] == pytest.approx([4, 3, 2.5, nan, nan, 3], nan_ok=True)
    assert values["bg_penalty_mean"] == [1, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert values["lr"] == values["mAP"] == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def call(run_tool):
    return partial(run_tool, "analysis/plot_run.py")


def test_picture(call, work_dirs, tmp_path, capsys):
    """The file is what draw() draws of these runs, labels and smoothing."""
    out = tmp_path / "new/curves.png"
    call(*work_dirs, "--out", out, "--labels", "a", "b", "--smooth", "2")
    runs = map(read_run, work_dirs)
    expected = io.BytesIO()
    draw_curves(dict(zip("ab", runs, strict=True)), smooth=2).savefig(expected, dpi=110)
    expected.seek(0)
    assert np.array_equal(plt.imread(out), plt.imread(expected))
    assert f"picture: {out}" in capsys.readouterr().out


def test_a_folder_without_logs_is_named(call, work_dirs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match=f"{tmp_path}/empty has no log of a training"):
        call(*work_dirs, tmp_path / "empty")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "a"), r"--labels must be 2 different names, got \['a'\]"),
        (("--labels", "a", "a"), r"got \['a', 'a'\]"),
        (("--smooth", "0"), "--smooth must be at least 1, got 0"),
    ],
    ids=["too few labels", "equal labels", "smooth"],
)
def test_wrong_options_are_named(call, work_dirs, capsys, options, message):
    with pytest.raises(SystemExit):
        call(*work_dirs, *options)
    assert re.search(message, capsys.readouterr().err)
