"""Losses of our head against those of Ultralytics 8.3.253 for the same predictions.

The inputs come from ``tests/data/recipe.py``, the values from a run of Ultralytics.
"""

import json

import pytest
import torch

from tests.conftest import ROOT
from tests.data import recipe

REFERENCE = json.loads(
    (ROOT / "tests/data/ultralytics_8.3.253_losses.json").read_text()
)
# mmyolo's assigner gives a prior that several boxes contest to the box of the highest
# overlap, even if that does not contain the prior; Ultralytics' does not.
CONTESTED = {"crowd", "contested"}


@pytest.mark.parametrize("case", [c for c in REFERENCE if c not in CONTESTED])
def test_losses_equal_ultralytics(make_head, case):
    gts, dist, logits = recipe.loss_case(case)
    num_imgs, _, num_classes = logits.shape
    head = make_head(num_classes=num_classes)
    scores, distances, dists, start = [], [], [], 0
    for stride in recipe.STRIDES:
        n = recipe.SIZE // stride
        level = slice(start, start + n * n)
        start += n * n
        z = torch.from_numpy(logits[:, level]).transpose(1, 2)
        d = torch.from_numpy(dist[:, level]).view(num_imgs, n * n, 4, 16)
        scores.append(z.reshape(num_imgs, num_classes, n, n))
        dists.append(d)
        distance = d.softmax(-1) @ torch.arange(16.0)  # (B, n·n, 4)
        distances.append(distance.transpose(1, 2).reshape(num_imgs, 4, n, n))
    samples = torch.cat(
        [
            torch.cat([torch.full((len(c), 1), i), torch.tensor(c)[:, None]], 1)
            for i, (_, c) in enumerate(gts)
        ]
    )
    boxes = torch.cat([torch.tensor(b) for b, _ in gts])
    losses = head.loss_by_feat(
        scores, distances, dists, torch.cat([samples, boxes], 1), [{}] * num_imgs
    )
    ours = torch.stack([losses[k] for k in ("loss_bbox", "loss_cls", "loss_dfl")])
    torch.testing.assert_close(ours, torch.tensor(REFERENCE[case]), rtol=1e-5, atol=0)
