import json
from collections import Counter
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from PIL import Image

from mmareaaware.visualization import MatchedImages, browse
from tests.conftest import ROOT

CONFIG = ROOT / "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
CLASSES = ("cat", "dog")
CAT, DOG, NOTHING = [4, 6, 12, 14], [20, 10, 30, 20], [32, 22, 38, 28]
IGNORED = [0, 22, 10, 30]
BLUE, ORANGE, YELLOW, WHITE = "#56b4e9", "#e69f00", "#f0e442", "#ffffff"


def sample(path, boxes, predictions, ignored=()) -> dict:
    """Boxes (box, label) and predictions (box, label, score) of an image."""
    Image.new("RGB", (40, 30), "grey").save(path)
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([b for b, _ in boxes]).view(-1, 4),
        labels=torch.tensor([c for _, c in boxes], dtype=torch.long),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.tensor(ignored).view(-1, 4))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([b for b, *_ in predictions]).view(-1, 4),
        labels=torch.tensor([c for _, c, _ in predictions], dtype=torch.long),
        scores=torch.tensor([s for *_, s in predictions]),
    )
    return sample.to_dict()


@pytest.fixture
def samples(tmp_path):
    return [
        sample(tmp_path / "right.jpg", [(CAT, 0)], [(CAT, 0, 0.9)]),
        sample(tmp_path / "empty.jpg", [], [(NOTHING, 1, 0.5)]),
        sample(
            tmp_path / "worst.jpg",
            [(CAT, 0), (DOG, 1)],
            [
                (CAT, 0, 0.9),
                (CAT, 0, 0.8),  # a second one
                (NOTHING, 1, 0.7),
                (DOG, 0, 0.6),  # the wrong class
                (NOTHING, 1, 0.1),  # below the threshold
                ([1, 23, 9, 29], 0, 0.9),  # in an ignored box
            ],
            ignored=IGNORED,
        ),
    ]


@pytest.fixture
def images(samples):
    metric = MatchedImages(score_thr=0.25)
    metric.process({}, samples)
    assert metric.evaluate(size=3) == {
        "all images/boxes": 3,
        "all images/correct": 2,
        "all images/missed": 1,
        "all images/false_alarms": 4,
    }
    return metric.images


def counts(boxes=0, correct=0, missed=0, **kinds) -> dict:
    kinds = dict.fromkeys(("bg", "dup", "loc", "cls", "both"), 0) | kinds
    false_alarms = sum(kinds.values())
    return dict(
        boxes=boxes,
        correct=correct,
        missed=missed,
        false_alarms=false_alarms,
        **kinds,
    )


def test_counts_and_pictures_from_the_worst_on(images, tmp_path):
    returned = browse.write_pictures(images, CLASSES, tmp_path / "out")
    expected = [
        dict(
            image=str(tmp_path / "worst.jpg"),
            **counts(boxes=2, correct=1, missed=1, bg=1, dup=1, cls=1),
        ),
        dict(image=str(tmp_path / "empty.jpg"), **counts(bg=1)),
        dict(image=str(tmp_path / "right.jpg"), **counts(boxes=1, correct=1)),
    ]
    assert returned == expected
    assert json.loads((tmp_path / "out/counts.json").read_text()) == expected
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "001_worst.png",
        "002_empty.png",
        "003_right.png",
        "overview.png",
        "counts.json",
    }


def test_only_the_worst(images, tmp_path):
    returned = browse.write_pictures(images, CLASSES, tmp_path / "out", num=1)
    assert len(returned) == 3
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["001_worst.png", "overview.png"]


def drawn(axis) -> tuple[Counter, list[str]]:
    """Colours and line styles of the boxes with their corners, and the labels."""
    boxes = Counter(
        (
            to_hex(patch.get_edgecolor()),
            patch.get_linestyle(),
            *patch.get_bbox().extents.astype(int).tolist(),
        )
        for patch in axis.patches
    )
    return boxes, sorted(text.get_text() for text in axis.texts)


def test_what_is_drawn(images):
    figure = browse.draw_image(images[2], CLASSES)
    truth, detections = figure.axes
    boxes, labels = drawn(truth)
    assert boxes == Counter(
        [(BLUE, "-", *CAT), (YELLOW, "--", *DOG), (WHITE, ":", *IGNORED)]
    )
    assert labels == ["dog"]
    boxes, labels = drawn(detections)
    assert boxes == Counter(
        [
            (BLUE, "-", *CAT),
            (ORANGE, "-", *CAT),
            (ORANGE, "-", *NOTHING),
            (ORANGE, "-", *DOG),
            (WHITE, ":", 1, 23, 9, 29),
        ]
    )
    assert labels == ["90%", "bg dog 70%", "cls cat 60%", "dup cat 80%"]
    assert truth.get_title("left") == "worst.jpg: 1 of 2 boxes missed"
    assert (
        detections.get_title("left")
        == "1 correct detections, 3 false alarms: 1 bg, 1 dup, 1 cls"
    )
    plt.close(figure)


def test_the_overview_has_errors_and_correct_detections_in_one(images):
    figure = browse.draw_overview(images[::-1])
    boxes, labels = drawn(figure.axes[0])
    styles = Counter(style[:2] for style in boxes.elements())
    assert styles == {
        (YELLOW, "--"): 1,
        (BLUE, "-"): 1,
        (ORANGE, "-"): 3,
        (WHITE, ":"): 1,
    }
    assert not labels
    assert figure.axes[0].get_title("left") == (
        "1. worst.jpg: 3 false alarms, 1 of 2 missed"
    )
    plt.close(figure)


def test_small_images_are_magnified_to_whole_pixels(images, tmp_path):
    """40 × 30 px, 25 times: twice 1000 × 750 px and the margins."""
    figure = browse.draw_image(images[0], CLASSES)
    figure.savefig(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (2 * 1000 + 3 * 10, 750 + 2 * 30)
    truth, detections = figure.axes
    for axis, left in ((truth, 10), (detections, 1020)):
        corner = axis.transData.transform(CAT[:2])  # pixels from the lower left
        assert corner == pytest.approx((left + 25 * 4, 30 + 25 * (30 - 6)))
    plt.close(figure)


def test_missing_ground_truth_is_named(samples):
    samples[0]["gt_instances"] = {}
    with pytest.raises(ValueError, match="LoadAnnotations"):
        MatchedImages(0.25).process({}, samples)


@pytest.fixture
def call(run_tool):
    return partial(run_tool, "browse_predictions.py")


@pytest.fixture
def checkpoint(demo_options, tmp_path):
    """Of an untrained network, which detects nothing with a high score."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(demo_options)
    path = tmp_path / "untrained.pth"
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path)
    return path


def test_a_network_that_misses_everything(
    call, checkpoint, demo_options, digits, tmp_path, capsys
):
    out = tmp_path / "out"
    options = [f"{key}={value}" for key, value in demo_options.items()]
    call(
        CONFIG,
        checkpoint,
        "--score-thr",
        "0.99",
        "--out",
        out,
        "--cfg-options",
        *options,
    )
    data = json.loads((digits / "annotations/val.json").read_text())
    boxes = Counter(annotation["image_id"] for annotation in data["annotations"])
    expected = sorted(
        (
            (boxes[image["id"]], str(digits / "val" / image["file_name"]))
            for image in data["images"]
        ),
        key=lambda item: (-item[0], item[1]),
    )
    found = json.loads((out / "counts.json").read_text())
    assert [(row["missed"], row["image"]) for row in found] == expected
    assert all(row["missed"] == row["boxes"] for row in found)
    assert len(list(out.glob("00?_*.png"))) == 6
    printed = capsys.readouterr().out
    assert "all 6 images" in printed
    assert f"pictures: {out}" in printed

    with pytest.raises(SystemExit):  # the pictures would mix with those of this run
        call(CONFIG, checkpoint, "--out", out)
    assert f"--out {out} has pictures already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("checkpoint", "options", "message"),
    [
        ("none.pth", (), "there is no checkpoint"),
        ("empty.pth", ("--num", 0), "--num must be at least 1, got 0"),
    ],
    ids=["checkpoint", "num"],
)
def test_wrong_arguments_are_named(
    call, tmp_path, capsys, checkpoint, options, message
):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(SystemExit):
        call(CONFIG, tmp_path / checkpoint, *options)
    assert message in capsys.readouterr().err


def test_names_without_a_font_become_numbers(monkeypatch):
    monkeypatch.setitem(plt.rcParams, "font.family", ["DejaVu Sans"])
    monkeypatch.setattr(browse, "fonts_for", lambda text: (["DejaVu Sans"], {"猫"}))
    with pytest.warns(UserWarning, match="letters of 猫: .*Noto Sans"):
        names = browse.drawable(["cat", "猫", "Цапля"])
    assert names == ["cat", "class 1", "Цапля"]
