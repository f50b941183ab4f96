"""Objectness with area weights against its formula, in float64."""

from itertools import product

import torch
import torch.nn.functional as F
from mmyolo.models.losses import bbox_overlaps as ciou

from tests.conftest import SIZE, STRIDES
from tests.test_models.test_dense_heads.yolo_heads import ANCHORS, build, maps_of

# Image, class, box; far enough apart that no prior is to find two of them, and with
# centres that are nearer to one side of their cell, on every level
BOXES = torch.tensor(
    [
        [0.0, 0, 9, 10, 21, 24],
        [0, 1, 60, 50, 110, 122],
        [1, 2, 30, 38, 55, 70],
        [1, 0, 100, 12, 107, 22],
        [1, 3, 11, 100, 60, 125],
    ]
)
BALANCE = (4.0, 1.0, 0.4)
METAS = [dict(batch_input_shape=(SIZE, SIZE))] * 2


AREA_WEIGHT = dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0)


def phi(area: float) -> float:
    """What ``AREA_WEIGHT`` says."""
    return min(max(32.0**2 / area, 1.0), 50.0)


def loss_obj_of_head(name: str, maps) -> torch.Tensor:
    losses = build(name, area_weight=AREA_WEIGHT).loss_by_feat(
        *maps, BOXES.clone(), METAS
    )
    return losses["loss_obj"].double().sum()


def test_yolov5_on_three_levels():
    maps = build("YOLOv5")(maps_of(build("YOLOv5")))
    found = {}  # by level, image, anchor, row and column: target and φ
    for level, (row, *rest) in product(range(3), BOXES.tolist()):
        stride, preds = STRIDES[level], maps[1][level].detach().double().sigmoid()
        corners = rest[1:]
        x1, y1, x2, y2 = (c / stride for c in corners)
        centre, size = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
        cells = {(int(centre[0]), int(centre[1]))}
        for axis in (0, 1):  # the neighbour that is nearer, inside the map
            step = -1 if centre[axis] % 1 < 0.5 else 1
            cell = list(map(int, centre))
            cell[axis] += step
            if 0 <= cell[axis] < SIZE // stride:
                cells.add(tuple(cell))
        for anchor, sides in enumerate(ANCHORS[level]):
            scaled = [side / stride for side in sides]
            ratios = [s / a for s, a in zip(size, scaled, strict=True)]
            if max(*ratios, *(1 / r for r in ratios)) >= 4:
                continue
            for x, y in cells:
                dx, dy, dw, dh = preds[int(row), 4 * anchor : 4 * anchor + 4, y, x]
                box = [
                    2 * dx - 0.5,
                    2 * dy - 0.5,
                    (2 * dw) ** 2 * scaled[0],
                    (2 * dh) ** 2 * scaled[1],
                ]
                truth = [centre[0] - x, centre[1] - y, *size]
                overlap = ciou(torch.stack(box)[None], torch.tensor([truth]).double())
                place = level, int(row), anchor, y, x
                assert place not in found
                area = size[0] * size[1] * stride**2
                found[place] = float(overlap.clamp(min=0)), phi(area)
    assert {place[0] for place in found} == {0, 1, 2}
    mean = sum(weight for _, weight in found.values()) / len(found)
    expected = 0.0
    for level, objectness in enumerate(maps[2]):
        logits = objectness.detach().double()
        target, weight = torch.zeros_like(logits), torch.ones_like(logits)
        for (at, *place), (overlap, raw) in found.items():
            if at == level:
                target[tuple(place)], weight[tuple(place)] = overlap, raw / mean
        loss = F.binary_cross_entropy_with_logits(logits, target, weight)
        expected += BALANCE[level] * loss
    torch.testing.assert_close(
        loss_obj_of_head("YOLOv5", maps), 2 * expected, rtol=1e-5, atol=0
    )


def test_yolox():
    head = build("YOLOX")
    maps = head(maps_of(head))
    stock = build("YOLOX", is_ours=False)
    assigned, assign = [], stock.assigner.assign
    stock.assigner.assign = lambda **kwargs: (
        assigned.append(assign(**kwargs)) or assigned[-1]
    )
    stock.loss_by_feat(*maps, BOXES.clone(), METAS)
    logits = torch.cat([o.double().flatten(1) for o in maps[2]], 1)  # (B, N)
    target, weight = torch.zeros_like(logits), torch.ones_like(logits)
    for image, result in enumerate(assigned):
        boxes = BOXES[BOXES[:, 0] == image, 2:].double()
        for prior in (result.gt_inds > 0).nonzero()[:, 0].tolist():
            x1, y1, x2, y2 = boxes[result.gt_inds[prior] - 1].tolist()
            target[image, prior] = 1
            weight[image, prior] = phi((x2 - x1) * (y2 - y1))
    number, is_positive = target.sum(), target > 0
    assert number > len(BOXES)
    weight[is_positive] /= weight[is_positive].mean()
    loss = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    torch.testing.assert_close(
        loss_obj_of_head("YOLOX", maps), loss / number, rtol=1e-5, atol=0
    )
    assert not torch.allclose(weight[is_positive], torch.ones(1).double())
