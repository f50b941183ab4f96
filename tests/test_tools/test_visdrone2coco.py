import json
from subprocess import CompletedProcess

import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.structures import InstanceData
from PIL import Image

from mmareaaware.conversion.visdrone import CLASSES
from mmareaaware.evaluation import BackgroundFPMetric, SizeBinnedCocoMetric
from mmareaaware.evaluation.size_binned_coco_metric import EVALUATORS
from tests.processes import run_tool

META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "instances")

LINES = """\
10,20,30,40,1,1,0,0
100,100,50,10,1,10,0,1,
190,90,50,50,1,4,0,0
-5,5,10,10,1,2,0,0
0,0,50,50,0,0,0,0
1,1,9,9,1,11,0,0
5,5,0,9,1,4,0,0
300,300,9,9,1,4,0,0
5,5,9,9,0,4,0,0
5,5,9,9,1,12,0,0
not,a,line
"""


@pytest.fixture
def visdrone(tmp_path):
    folder = tmp_path / "VisDrone2019-DET-val"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (200, 120)).save(folder / "images" / f"{name}.jpg")
    (folder / "annotations/a.txt").write_text(LINES)
    return tmp_path


def run(root, *arguments) -> CompletedProcess:
    return run_tool([root / "tools/dataset_converters/visdrone2coco.py", *arguments])


def test_boxes_and_what_is_skipped(root, visdrone):
    text = run(root, visdrone).stdout
    content = json.loads((visdrone / "annotations/val.json").read_text())
    boxes = [a for a in content["annotations"] if not a["iscrowd"]]
    assert [a["bbox"] for a in boxes] == [
        [10, 20, 30, 40],
        [100, 100, 50, 10],
        [190, 90, 10, 30],  # cut at the border of the image
        [0, 5, 5, 10],
    ]
    assert [a["category_id"] for a in boxes] == [1, 10, 4, 2]
    assert content["categories"][3] == dict(id=4, name="car")
    assert [i["file_name"] for i in content["images"]] == ["a.jpg", "b.jpg"]
    assert "2 images, 4 boxes, 3 regions in which detections do not count" in text
    for number, reason in (
        (2, "box without area"),
        (1, "unknown category"),
        (1, "malformed line"),
        (1, "image without annotation file"),
    ):
        assert f"skipped {number}: {reason}" in text


def test_what_is_not_evaluated_is_ignored_for_every_class(root, visdrone):
    run(root, visdrone)
    content = json.loads((visdrone / "annotations/val.json").read_text())
    ignored = [a for a in content["annotations"] if a["iscrowd"]]
    for box in ([0, 0, 50, 50], [1, 1, 9, 9], [5, 5, 9, 9]):  # region, others, marked
        of_box = [a for a in ignored if a["bbox"] == box]
        assert [a["category_id"] for a in of_box] == list(range(1, 11))
    assert len(ignored) == 30
    ids = [a["id"] for a in content["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


# In image a, by score: a pedestrian and a car are found, before the car one in the
# ignored region; the last is on background.
DETECTIONS = {
    (10, 20, 40, 60): (0, 0.9),
    (20, 5, 45, 19): (3, 0.8),
    (190, 90, 200, 120): (3, 0.7),
    (150, 60, 180, 80): (5, 0.6),
}


def evaluate(metric, dataset):
    """Of a data set as a test loads it, and the detections above."""
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        sample = dataset[i]["data_samples"]
        boxes = DETECTIONS if sample.img_path.endswith("a.jpg") else {}
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(list(boxes), dtype=torch.float).view(-1, 4),
            labels=torch.tensor([label for label, _ in boxes.values()]).long(),
            scores=torch.tensor([score for _, score in boxes.values()]),
        )
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_detection_in_an_ignored_region_is_no_false_alarm(root, visdrone, evaluator):
    run(root, visdrone)
    file = visdrone / "annotations/val.json"
    dataset = DATASETS.build(
        dict(
            type="mmdet.CocoDataset",
            ann_file=str(file),
            data_prefix=dict(img=str(visdrone / "VisDrone2019-DET-val/images/")),
            metainfo=dict(classes=CLASSES),
            test_mode=True,
            pipeline=[
                dict(type="mmdet.LoadImageFromFile"),
                dict(type="mmdet.LoadAnnotations", with_bbox=True),
                dict(type="mmdet.PackDetInputs", meta_keys=META_KEYS),
            ],
        )
    )

    def false_alarms():
        values = evaluate(BackgroundFPMetric(score_thrs=[0.1]), dataset)
        return 2 * values["background/bg_fp_per_image_score0.1"]

    def precision(ann_file):
        metric = SizeBinnedCocoMetric(
            ann_file=ann_file and str(ann_file), evaluator=evaluator, classwise=True
        )
        return evaluate(metric, dataset)["coco/car_precision_50"]

    assert false_alarms() == 1
    assert precision(file) == precision(None) == pytest.approx(1)


def test_the_recipe_has_the_classes_of_the_converter(root, visdrone):
    from mmengine.config import Config

    run(root, visdrone)
    content = json.loads((visdrone / "annotations/val.json").read_text())
    recipe = "configs/yolov8/yolov8_s_area-aware_bg-max_8xb16-300e_visdrone.py"
    classes = Config.fromfile(root / recipe).train_dataloader.dataset.metainfo.classes
    assert list(classes) == [c["name"] for c in content["categories"]]


def test_nothing_there_is_an_error(root, tmp_path):
    result = run(root, tmp_path)
    assert result.returncode != 0
    assert f"{tmp_path}/VisDrone2019-DET-train/images" in result.stderr
