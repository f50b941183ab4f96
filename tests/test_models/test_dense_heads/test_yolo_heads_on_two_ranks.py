"""Two processes with two images each against one with the same four.

Where the stock losses have it: YOLOX, PP-YOLOE and RTMDet average what they divide by
over the ranks, YOLOv5 and YOLOv7 divide objectness by the number of priors. Class and
box losses of YOLOv5 and YOLOv7, and all of YOLOv6, are means of one rank in stock.
"""

import torch
from mmengine.registry import DefaultScope

from tests.conftest import SIZE, ground_truth
from tests.test_models.test_dense_heads.yolo_heads import build, maps_of, set_epoch
from tests.two_processes import rank_0_of_2

OPTIONS = dict(
    area_weight=dict(type="PowerAreaWeight", gamma=1.0, max_weight=50.0),
    loss_bg=dict(type="BgPenaltyLoss"),
)
ALL = ("loss_cls", "loss_obj", "loss_bbox", "loss_dfl", "loss_bg")
AVERAGED = {
    "YOLOX": ALL,
    "PP-YOLOE": ALL,
    "RTMDet": ALL,
    "YOLOv5": ("loss_obj", "loss_bg"),
    "YOLOv7 with auxiliary branch": ("loss_obj", "loss_bg"),
    "YOLOv6": ("loss_bg",),
}


# Boxes of each image, and what the penalty is divided by. The second split leaves rank
# 1 no box.
CASES = [((12, 3, 5, 9), "background"), ((12, 3, 0, 0), "positives")]


def _gradients(rank: int, world_size: int, boxes: tuple, normalizer: str) -> dict:
    """Of each head, averaged over the ranks as DistributedDataParallel does."""
    torch.set_num_threads(1)
    set_epoch(5)
    result = {}
    num_imgs = len(boxes) // world_size
    part = slice(rank * num_imgs, (rank + 1) * num_imgs)
    gt = ground_truth(boxes)
    gt = gt[(gt[:, 0] >= part.start) & (gt[:, 0] < part.stop)]
    gt[:, 0] -= part.start
    ignored = torch.tensor([[0, 20.0, 20, 90, 90]])  # on the first image
    for name, keys in AVERAGED.items():
        with DefaultScope.overwrite_default_scope("mmyolo"):
            loss_bg = OPTIONS["loss_bg"] | dict(normalizer=normalizer)
            head = build(name, **OPTIONS | dict(loss_bg=loss_bg))
        for module in head.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()  # it would see other batches
        losses = head.loss_by_feat(
            *head([level[part] for level in maps_of(head, len(boxes))]),
            gt.clone(),
            [dict(batch_input_shape=(SIZE, SIZE))] * num_imgs,
            ignored if rank == 0 else None,
        )
        sum(losses[key].sum() for key in keys if key in losses).backward()
        grads = [p.grad for p in head.parameters() if p.grad is not None]
        if world_size > 1:
            for grad in grads:
                torch.distributed.all_reduce(grad)
        # mmyolo multiplies YOLOv6's losses by the number of ranks, to add them up
        divisor = world_size ** (2 if name == "YOLOv6" else 1)
        result[name] = [(grad / divisor).numpy() for grad in grads]
    return result


def _gradients_of_all(rank: int, world_size: int) -> list[dict]:
    return [_gradients(rank, world_size, *case) for case in CASES]


def test_two_processes_give_the_gradients_of_one(free_port):
    together = rank_0_of_2(_gradients_of_all, free_port)
    alone = _gradients_of_all(0, 1)
    for case, expected_of_case in zip(together, alone, strict=True):
        for name, grads in case.items():
            for grad, expected in zip(grads, expected_of_case[name], strict=True):
                scale = abs(expected).max()
                assert abs(grad - expected).max() <= 1e-4 * scale + 1e-9, name
