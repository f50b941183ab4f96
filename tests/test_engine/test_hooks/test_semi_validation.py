"""A semi-supervised training that validates both of its networks."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric

from mmareaaware.evaluation import SizeBinnedCocoMetric
from tests.conftest import ROOT
from tests.test_engine.test_hooks.test_semi_hooks import make_runner

BASELINE = ROOT / "configs/demo/yolov8_n_baseline_1xb8-14e_digits.py"
NETWORKS = ("teacher", "student")


class MeanScore(BaseMetric):
    """Of the detections, by image: tells one network from another."""

    default_prefix = "mean"

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            scores = sample["pred_instances"]["scores"]
            self.results.append(float(scores.sum()) / max(len(scores), 1))

    def compute_metrics(self, results):
        return dict(score=sum(results) / len(results))


def runner_of_both(path, digits, save_best):
    dataloader = Config.fromfile(BASELINE).val_dataloader
    dataloader.dataset.data_root = f"{digits}/"
    ann_file = str(digits / "annotations/val.json")
    return make_runner(
        path,
        epochs=3,
        save_best=save_best,
        val_cfg=dict(type="mmdet.TeacherStudentValLoop"),
        val_dataloader=dataloader,
        val_evaluator=[SizeBinnedCocoMetric(ann_file=ann_file), MeanScore()],
    )


@torch.no_grad()
def mean_score(runner, network: str) -> float:
    model = runner.model.eval()
    metric = MeanScore()
    for batch in runner.val_dataloader:
        data = model.data_preprocessor(batch, False)
        found = getattr(model, network)(**data, mode="predict")
        metric.process(batch, [sample.to_dict() for sample in found])
    return metric.compute_metrics(metric.results)["score"]


def test_both_are_validated_and_the_best_teacher_is_kept(tmp_path, digits):
    runner = runner_of_both(tmp_path, digits, save_best="teacher/coco/bbox_mAP")
    runner.train()
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    burn_in, *_, last = [row for row in rows if "teacher/coco/bbox_mAP" in row]
    assert "student/coco/bbox_mAP" in last
    scores = [last[f"{network}/mean/score"] for network in NETWORKS]
    assert scores == pytest.approx([mean_score(runner, n) for n in NETWORKS], rel=1e-4)
    assert scores[0] != pytest.approx(scores[1], rel=1e-4)
    # Until there is a teacher
    assert burn_in["teacher/mean/score"] == burn_in["student/mean/score"]
    assert len(list(tmp_path.glob("best_teacher_coco_bbox_mAP_epoch_*.pth"))) == 1
    # And the next test is that of the teacher again
    assert runner.model.semi_test_cfg["predict_on"] == "teacher"


def test_a_key_of_neither_network_is_refused(tmp_path, digits):
    runner = runner_of_both(tmp_path, digits, save_best="coco/bbox_mAP")
    with pytest.raises(ValueError, match="set 'teacher/coco/bbox_mAP'"):
        runner.train()
