"""What a teacher detects, against the rule written out."""

import torch
from mmdet.structures.bbox import bbox_overlaps

from mmareaaware.models.semi.teacher_detections import detect
from tests.semi import SIZE, build, semi_config


def test_nms_is_by_class_and_keeps_the_best():
    teacher, images = build(semi_config()).teacher, torch.rand(2, 3, SIZE, SIZE)
    every = detect(teacher, images, score_thr=0.3, nms_iou=1.0, max_per_img=2000)
    some = detect(teacher, images, score_thr=0.3, nms_iou=0.5, max_per_img=2000)
    for whole, image in zip(every, some, strict=True):
        kept = []  # by hand, the best first
        for i in range(len(whole)):
            rivals = [j for j in kept if whole.labels[j] == whole.labels[i]]
            overlaps = bbox_overlaps(whole.bboxes[[i]], whole.bboxes[rivals])
            if not (overlaps > 0.5).any():
                kept.append(i)
        assert 2 < len(kept) < len(whole)
        assert torch.equal(image.bboxes, whole.bboxes[kept])
        assert image.scores.min() >= 0.3
    first, _ = detect(teacher, images, score_thr=0.3, nms_iou=0.5, max_per_img=2)
    assert len(first) == 2


def test_the_quality_is_that_of_the_box():
    seen = []

    def quality(dists, boxes, strides):
        seen.append((dists, boxes, strides))
        return strides > 8

    (image,) = detect(
        build(semi_config()).teacher,
        torch.rand(1, 3, SIZE, SIZE),
        score_thr=0.3,
        nms_iou=0.5,
        max_per_img=50,
        box_quality=quality,
    )
    ((dists, boxes, strides),) = seen
    bins = torch.arange(dists.size(2)).float()
    sides = (dists.softmax(2) @ bins) * strides[:, None]
    torch.testing.assert_close(sides[:, :2] + sides[:, 2:], boxes[:, 2:] - boxes[:, :2])
    assert torch.equal(boxes, image.bboxes)
    assert torch.equal(image.is_exact, strides > 8)
