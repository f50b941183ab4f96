import json
from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mmareaaware.engine import count_classes


def annotated(digits) -> list[int]:
    content = json.loads((digits / "annotations/train.json").read_text())
    counter = Counter(a["category_id"] for a in content["annotations"])
    return [counter[i] for i in range(10)]


def dataset_config(digits) -> dict:
    return dict(
        type="DigitsDataset",
        data_root=str(digits),
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        pipeline=[],
    )


def test_counts_are_those_of_the_annotations(digits):
    dataset = DATASETS.build(dataset_config(digits))
    assert count_classes(dataset, 10) == annotated(digits)


def test_wrappers_count_what_they_repeat(digits):
    dataset = DATASETS.build(
        dict(type="RepeatDataset", times=3, dataset=dataset_config(digits))
    )
    assert count_classes(dataset, 10) == [3 * n for n in annotated(digits)]


def test_a_data_set_without_annotations_is_named():
    with pytest.raises(TypeError, match=r"list has none; give class_counts=\[\.\.\.\]"):
        count_classes([], 10)


def test_auto_is_filled_before_training(root, digits, demo_options, tmp_path):
    cfg = Config.fromfile(
        root / "configs/demo/yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"
    )
    cfg.merge_from_dict(demo_options)
    cfg.merge_from_dict(
        {
            "model.bbox_head.loss_cls.class_weight": dict(type="EffectiveNumberWeight"),
            "model.bbox_head.loss_cls.margin": dict(type="LDAMMargin"),
            "model.bbox_head.loss_cls.class_counts": "auto",
            "train_cfg.max_epochs": 1,
            "work_dir": str(tmp_path),
        }
    )
    cfg.custom_hooks.append(dict(type="ClassCountsHook"))
    runner = Runner.from_cfg(cfg)
    runner.train()
    loss = runner.model.bbox_head.loss_cls
    assert loss.class_counts == annotated(digits)
    assert loss.class_weights.argmin() == torch.tensor(loss.class_counts).argmax()
    ema = next(h for h in runner.hooks if type(h).__name__ == "EMAHook").ema_model
    assert ema.module.bbox_head.loss_cls.class_counts == loss.class_counts


def test_ignored_boxes_are_not_counted(digits, tmp_path):
    content = json.loads((digits / "annotations/train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(content))
    expected = annotated(digits)
    expected[content["annotations"][0]["category_id"]] -= 1
    cfg = dict(dataset_config(digits), ann_file=str(tmp_path / "train.json"))
    assert count_classes(DATASETS.build(cfg), 10) == expected
