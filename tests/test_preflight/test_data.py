"""What is wrong with annotations is said before they are trained on."""

import json

import pytest
from mmdet.models import RPNHead
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmareaaware.preflight import data_findings
from mmareaaware.preflight.categories import read_categories


class Model(nn.Module):
    """What of a model the data are compared with."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.bbox_head = nn.Module()
        self.bbox_head.loss_cls = nn.Identity()
        self.bbox_head.num_classes = num_classes


@pytest.fixture
def dataset(digits, tmp_path):
    """Builds the demo set from changed annotations."""

    def build(change=lambda content: None, split="train", **config):
        content = json.loads((digits / f"annotations/{split}.json").read_text())
        change(content)
        path = tmp_path / f"{split}.json"
        path.write_text(json.dumps(content))
        return DATASETS.build(
            dict(
                type="DigitsDataset",
                data_root=str(digits),
                ann_file=str(path),
                data_prefix=dict(img=f"{split}/"),
                pipeline=[],
                **config,
            )
        )

    return build


def found(train, val=None, num_classes=10) -> list[str]:
    return [str(f) for f in data_findings(train, val, Model(num_classes))]


def test_nothing_is_found_in_good_data(dataset):
    assert found(dataset(), dataset(split="val")) == []


def test_no_box(dataset):
    (message,) = found(dataset(lambda content: content["annotations"].clear()))
    assert message.startswith("train_dataloader.dataset: ")
    assert "images and no box to train on. Check ann_file" in message


def test_only_ignored_boxes(dataset):
    def ignore_all(content):
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    (message,) = found(dataset(ignore_all))
    assert "no box to train on" in message


@pytest.mark.parametrize("width", [1e30, float("inf"), float("nan")])
def test_boxes_that_no_image_can_have(dataset, width):
    data = dataset()
    info = data.get_data_info(3)
    info["instances"][0]["bbox"][2] = width
    data.get_data_info = {i: data.get_data_info(i) for i in range(len(data))}.get
    data.get_data_info(3).update(info)
    (message,) = found(data)
    assert "1 of " in message
    assert info["img_path"] in message


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_of_no_class(dataset, label):
    data = dataset()
    infos = {i: data.get_data_info(i) for i in range(len(data))}
    infos[2]["instances"][0]["bbox_label"] = label
    data.get_data_info = infos.get
    (message,) = found(data)
    assert f"1 of {sum(len(i['instances']) for i in infos.values())} boxes" in message
    assert f"outside 0...9, the first {label} in {infos[2]['img_path']}" in message


def test_the_label_of_an_ignored_box_is_not_looked_at(dataset):
    data = dataset()
    infos = {i: data.get_data_info(i) for i in range(len(data))}
    infos[2]["instances"][0].update(bbox_label=-1, ignore_flag=1)
    data.get_data_info = infos.get
    assert found(data) == []


def test_an_rpn_knows_no_classes(dataset):
    model = Model()
    with DefaultScope.overwrite_default_scope("mmdet"):
        model.rpn_head = RPNHead(in_channels=4, num_classes=1)
    assert not list(data_findings(dataset(), None, model))
    model.rpn_head = Model(1).bbox_head  # of FCOS or by guided anchors
    assert not list(data_findings(dataset(), None, model))


def test_a_data_set_without_boxes_is_another_task(dataset):
    data = dataset()
    infos = [{k: v for k, v in i.items() if k != "instances"} for i in data]
    data.get_data_info = infos.__getitem__
    assert found(data) == []


def test_a_wrong_number_of_classes(dataset):
    labels, number = data_findings(dataset(), None, Model(4))
    assert labels.is_error
    assert number.is_error
    labels, number = str(labels), str(number)
    assert "outside 0...3" in labels
    assert number.startswith("model.bbox_head.num_classes: 4, and train_dataloader")
    (finding,) = data_findings(dataset(), None, Model(80))
    assert "80, and train_dataloader.dataset has 10 classes" in finding.message
    assert finding.message.endswith("ends a validation (IndexError)")
    assert not finding.is_error


def swap(content):
    """Another order of the same categories."""
    categories = content["categories"]
    categories[1], categories[2] = categories[2], categories[1]


def test_another_order_of_categories_in_val(dataset):
    (message,) = found(dataset(), dataset(swap, split="val"))
    assert message.startswith("val_dataloader.dataset.ann_file: ")
    assert "with '2' and not '1' as label 1" in message


def test_a_category_that_val_has_not(dataset):
    val = dataset(lambda content: content["categories"].pop(), split="val")
    (message,) = found(dataset(), val)
    assert "9 of 10 with None and not '9' as label 9" in message


def test_the_same_order_in_both_that_is_not_that_of_the_names(dataset):
    train, val = dataset(swap), dataset(swap, split="val")
    (finding,) = data_findings(train, val, Model())
    assert finding.place == "train_dataloader.dataset.metainfo.classes"
    assert not finding.is_error


def test_wrappers(dataset):
    empty = dataset(lambda content: content["annotations"].clear())
    both = DATASETS.build(dict(type="ConcatDataset", datasets=[empty, dataset()]))
    assert found(both) == []
    twice = DATASETS.build(dict(type="RepeatDataset", times=2, dataset=empty))
    assert "train_dataloader.dataset" in found(twice)[0]


@pytest.mark.parametrize("first", [True, False])
def test_categories_wherever_they_are(tmp_path, first):
    categories = [dict(id=3, name="ä]"), dict(id=1, name="b", skeleton=[[1, 2]])]
    rest = dict(info=dict(text='the "categories": [1]'), images=[{"id": 0}])
    content = dict(categories=categories)
    content = content | rest if first else rest | content
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert read_categories(path) == categories
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    assert read_categories(path) == categories


def test_a_text_in_place_of_classes(dataset):
    data = dataset()
    data.metainfo["classes"] = "ball"
    data._metainfo["classes"] = "ball"
    (message,) = [m for m in found(data, num_classes=1) if "metainfo.classes: " in m]
    assert "write ('ball',), with a comma" in message
    assert not any("num_classes: 1, and" in m for m in found(data, num_classes=1))


def test_a_box_head_of_panoptic_data_knows_the_things(dataset):
    data = dataset()
    names = data.metainfo["classes"]
    data._metainfo.update(classes=(*names, "sky", "grass"), thing_classes=names)
    assert not [m for m in found(data) if "num_classes" in m]


def test_a_head_that_compares_with_words_has_no_classes(dataset):
    model = Model(4)
    model.bbox_head.max_text_len = 4
    assert not list(data_findings(dataset(), None, model))
