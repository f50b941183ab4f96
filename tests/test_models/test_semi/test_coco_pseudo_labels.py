"""Labels that a network gives the unlabelled images once."""

import json
import runpy
import sys
from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmareaaware.models.semi import FixedThresholds, PseudoLabeller
from mmareaaware.models.semi.coco_pseudo_labels import pseudo_labelled
from tests.conftest import ROOT
from tests.semi import build, sample

TOOL = ROOT / "tools/dataset_converters/pseudo_label.py"
BASELINE = ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"
RECIPE = ROOT / "configs/semi/yolov8_n_pseudo-labelled_1xb16-crop256-40e_coco-folder.py"
CONTENT = dict(
    info=dict(year=2026),
    images=[dict(id=7), dict(id=5), dict(id=6)],
    annotations=[dict(id=1, image_id=7, bbox=[0, 0, 9, 9], category_id=30)],
    categories=[dict(id=30, name="b"), dict(id=10, name="a")],
)


def detections(rows) -> InstanceData:
    """Of (box, score, label)."""
    return InstanceData(
        bboxes=torch.tensor([box for box, *_ in rows]).view(-1, 4),
        scores=torch.tensor([score for _, score, _ in rows]),
        labels=torch.tensor([label for *_, label in rows], dtype=torch.long),
    )


def thresholds() -> FixedThresholds:
    result = FixedThresholds(0.6, 0.3)
    result.set_num_classes(2)
    result.high[1] = 0.8
    return result


BOX = [10.0, 20.0, 14.0, 28.0]
FOUND = {
    5: detections(
        [
            (BOX, 0.7, 0),
            (BOX, 0.7, 1),
            (BOX, 0.8, 1),  # as the threshold
            (BOX, 0.2, 0),
            ([1.0, 1.0, 2.0, 9.0], 0.9, 0),  # too narrow
        ]
    ),
    6: detections([]),
    7: detections([(BOX, 0.4, 0)]),
}


def test_three_zones():
    labelled = pseudo_labelled(CONTENT, FOUND, [10, 30], thresholds())
    assert {k: labelled[k] for k in ("info", "images", "categories")} == {
        k: CONTENT[k] for k in ("info", "images", "categories")
    }
    rows = [
        (a["image_id"], a["category_id"], a["iscrowd"], round(a["score"], 3))
        for a in labelled["annotations"]
    ]
    assert rows == [(7, 10, 1, 0.4), (5, 10, 0, 0.7), (5, 30, 1, 0.7), (5, 30, 0, 0.8)]
    assert [a["id"] for a in labelled["annotations"]] == [1, 2, 3, 4]
    for annotation in labelled["annotations"]:
        assert annotation["bbox"] == [10, 20, 4, 8]
        assert annotation["area"] == 32


def test_an_image_that_was_not_looked_at():
    found = {k: v for k, v in FOUND.items() if k != 6}
    with pytest.raises(ValueError, match="image 6"):
        pseudo_labelled(CONTENT, found, [10, 30], thresholds())


@pytest.fixture
def trained(digits, demo_options, tmp_path):
    """A network that finds something, its config and its checkpoint."""
    cfg = Config.fromfile(BASELINE)
    cfg.merge_from_dict(demo_options)
    cfg.dump(tmp_path / "config.py")
    model = build(cfg.model)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # it sees these images once
    paths = sorted((digits / "train").iterdir())
    model(torch.cat([network_input(path) for path in paths]), mode="tensor")
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "net.pth")
    return model.eval()


def network_input(path) -> torch.Tensor:
    pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def run_tool(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_labels_are_those_of_a_teacher(trained, digits, tmp_path, monkeypatch, capsys):
    ann_file = digits / "annotations/train.json"
    content = json.loads(ann_file.read_text())
    start = (tmp_path / "config.py", tmp_path / "net.pth", ann_file, digits / "train")
    run_tool(monkeypatch, *start, tmp_path / "out/pseudo.json", "--high", "0.5")
    labelled = json.loads((tmp_path / "out/pseudo.json").read_text())
    numbers = {0: 0, 1: 0}
    thresholds = dict(type="FixedThresholds", high=0.5, low=0.1)
    labeller = PseudoLabeller(10, thresholds=thresholds)
    for image in content["images"]:
        images = network_input(digits / "train" / image["file_name"])
        view = sample()
        view.set_metainfo(dict(img_shape=(256, 256)))
        (found,) = labeller.detect(trained, images)
        labels = labeller.label([found], [view], [view])
        for crowd, expected in ((0, labels.boxes[:, 2:]), (1, labels.ignored[:, 1:])):
            boxes = [
                a["bbox"]
                for a in labelled["annotations"]
                if a["image_id"] == image["id"] and a["iscrowd"] == crowd
            ]
            boxes = torch.tensor(boxes).view(-1, 4)
            boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
            assert len(boxes) == len(expected)
            distances = torch.cdist(boxes, expected, p=float("inf"))
            assert len(boxes) == 0 or distances.amin(1).max() < 1e-2
            numbers[crowd] += len(boxes)
    assert min(numbers.values()) > 10
    assert (
        f"12 images, {numbers[0]} pseudo-boxes and {numbers[1]} ignored regions"
        in capsys.readouterr().out
    )


def test_what_was_uncertain_is_ignored_by_the_recipe(digits, tmp_path, monkeypatch):
    content = json.loads((digits / "annotations/train.json").read_text())
    content["annotations"] = content["annotations"][:0]
    category_ids = [category["id"] for category in content["categories"]]
    labels = FixedThresholds(0.6, 0.3)
    labels.set_num_classes(10)
    found = {image["id"]: FOUND[7] for image in content["images"]}
    found[content["images"][0]["id"]] = FOUND[5]
    pseudo = pseudo_labelled(content, found, category_ids, labels)
    truth = (digits / "annotations/train.json").read_text()
    (tmp_path / "train.json").write_text(truth)
    (tmp_path / "train-pseudo.json").write_text(json.dumps(pseudo))

    monkeypatch.setenv("DATA_ROOT", str(digits))
    cfg = Config.fromfile(RECIPE)
    loader = deepcopy(cfg.train_dataloader)
    for dataset in loader.dataset.datasets:
        name = "train-pseudo" if "pseudo" in dataset.ann_file else "train"
        dataset.ann_file = str(tmp_path / f"{name}.json")
    loader.batch_size = 24
    (batch,) = Runner.build_dataloader(loader, seed=0)
    boxes, ignored = (
        batch["data_samples"][key] for key in ("bboxes_labels", "bboxes_ignored")
    )
    of_pseudo = boxes[boxes[:, 0] >= 12]
    assert sorted(of_pseudo[:, 1].tolist()) == [0, 1, 1]
    assert len(of_pseudo) < len(boxes)
    assert len(ignored[ignored[:, 0] >= 12]) == 11


WRONG = {
    "order": (["--low", "0.7"], "low=0.7, high=0.6"),
    "no images": (["--high", "0.7"], "nowhere does not exist"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_said_in_a_line(options, words, digits, monkeypatch, capsys):
    ann_file = digits / "annotations/train.json"
    images = digits / ("nowhere" if "nowhere" in words else "train")
    start = (BASELINE, BASELINE, ann_file, images, "never.json")
    with pytest.raises(SystemExit) as error:
        run_tool(monkeypatch, *start, *options)
    assert words in f"{error.value}{capsys.readouterr().err}"
