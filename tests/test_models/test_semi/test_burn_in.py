"""A training that never leaves its burn-in against one of the detector alone."""

import json

import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from torch.utils.data import ConcatDataset

from tests.semi import build, detector_config, semi_batch, semi_config

BATCH = semi_batch(num_sup=3, num_unsup=6)


def labelled_alone(items) -> dict:
    labelled = [item for item in items if item["inputs"]["sup"] is not None]
    return pseudo_collate(
        [{key: value["sup"] for key, value in item.items()} for item in labelled]
    )


def train(model, folder, collate, hooks=()) -> list[dict]:
    """Two epochs of three iterations; what they log."""
    model._is_init = True  # keep these weights
    items = [
        {
            key: {name: row[i] for name, row in rows.items()}
            for key, rows in BATCH.items()
        }
        for i in range(9)
    ]
    runner = Runner(
        model,
        work_dir=str(folder),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        train_dataloader=dict(
            dataset=ConcatDataset([items[:3], items[3:]]),
            batch_size=4,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=True),
            batch_sampler=dict(type="SemiBatchSampler", source_ratio=[1, 1]),
            collate_fn=dict(type=collate),
        ),
        optim_wrapper=dict(
            optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.1),
            clip_grad=dict(max_norm=10.0),
        ),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=list(hooks),
        default_scope="mmdet",
        experiment_name=folder.name,
        randomness=dict(seed=0, deterministic=True),
    )
    runner.train()
    (log,) = folder.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_training_without_unlabelled_images_is_the_supervised_one(tmp_path):
    semi = build(semi_config(lambda_u=0.0))
    plain = build(detector_config())
    plain.load_state_dict(semi.student.state_dict())
    hooks = ("SemiMeanTeacherHook", "SemiPhaseHook", "PseudoLabelMonitorHook")
    hooks = [dict(type=name) for name in hooks]
    rows = train(semi, tmp_path / "semi", pseudo_collate, hooks)
    expected_rows = train(plain, tmp_path / "plain", labelled_alone)
    assert len(rows) == 6
    for row, expected in zip(rows, expected_rows, strict=True):
        row = {name.removeprefix("sup_"): value for name, value in row.items()}
        for name in expected.keys() - {"time", "data_time", "memory"}:
            assert row[name] == expected[name], (name, row["step"])
    state = semi.student.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value), name
