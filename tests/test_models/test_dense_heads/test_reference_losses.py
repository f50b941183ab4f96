"""Our head and assigner against Ultralytics, for the same predictions.

The inputs come from ``tests/data/recipe.py``; ``tests/data/ultralytics_tal.npz`` holds
what Ultralytics 8.3.253 and 8.4.190 (whose small-target rule is ``min_side=16``) gave
for them: losses; row in the batch, label, score and box of every prior whose target is
not 0; of the two gradients eight projections on the recipe's noise and the L1 norm.
"""

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.data import recipe

REFERENCE = np.load(ROOT / "tests/data/ultralytics_tal.npz")
MIN_SIDE = {"8.3.253": 0, "8.4.190": 16}
# mmyolo's assigner gives a prior that several boxes contest to the box of the highest
# overlap, even if that does not contain the prior; Ultralytics' does not.
CONTESTED = {"crowd", "contested"}


def sparse_assigner(num_classes, **options):
    return dict(type="SparseTaskAlignedAssigner", num_classes=num_classes, **options)


def outputs(dist, logits):
    """Raw outputs as the levels that a head module returns."""
    num_imgs, _, num_classes = logits.shape
    scores, distances, dists, start = [], [], [], 0
    for stride in recipe.STRIDES:
        n = recipe.SIZE // stride
        level = slice(start, start + n * n)
        start += n * n
        scores.append(
            logits[:, level].transpose(1, 2).reshape(num_imgs, num_classes, n, n)
        )
        dists.append(dist[:, level].view(num_imgs, n * n, 4, 16))
        distance = dists[-1].softmax(-1) @ torch.arange(16.0)  # (B, n·n, 4)
        distances.append(distance.transpose(1, 2).reshape(num_imgs, 4, n, n))
    return scores, distances, dists


def samples(gts):
    rows = [
        torch.cat([torch.full((len(c), 1), i), torch.tensor(c)[:, None]], 1)
        for i, (_, c) in enumerate(gts)
    ]
    boxes = torch.cat([torch.tensor(b) for b, _ in gts])
    return torch.cat([torch.cat(rows), boxes], 1)


def values(losses):
    return torch.stack([losses[k] for k in ("loss_bbox", "loss_cls", "loss_dfl")])


@pytest.mark.parametrize("case", [c for c in recipe.LOSS_CASES if c not in CONTESTED])
def test_losses_with_the_assigner_of_mmyolo(make_head, case):
    gts, dist, logits = recipe.loss_case(case)
    head = make_head(num_classes=recipe.CLASSES)
    maps = outputs(torch.from_numpy(dist), torch.from_numpy(logits))
    losses = head.loss_by_feat(*maps, samples(gts), [{}] * len(gts))
    reference = torch.from_numpy(REFERENCE[f"8.3.253/{case}/losses"])
    torch.testing.assert_close(values(losses), reference, rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss_cls", ["stock", "ours"])
@pytest.mark.parametrize("version", MIN_SIDE)
@pytest.mark.parametrize("case", recipe.LOSS_CASES)
def test_losses_and_gradients_with_the_sparse_assigner(
    make_head, case, version, loss_cls
):
    gts, dist, logits = recipe.loss_case(case)
    ours = dict(type="AreaAwareBCELoss", area_weight=None, loss_weight=0.5)
    assigner = sparse_assigner(recipe.CLASSES, min_side=MIN_SIDE[version])
    head = make_head(
        num_classes=recipe.CLASSES,
        train_cfg=dict(assigner=assigner),
        **({} if loss_cls == "stock" else dict(loss_cls=ours)),
    )
    dist = torch.from_numpy(dist).requires_grad_()
    logits = torch.from_numpy(logits).requires_grad_()
    maps = outputs(dist, logits)
    losses = values(head.loss_by_feat(*maps, samples(gts), [{}] * len(gts)))
    losses.sum().backward()
    reference = torch.from_numpy(REFERENCE[f"{version}/{case}/losses"])
    torch.testing.assert_close(losses, reference, rtol=1e-5, atol=0)
    for name, leaf in dict(dist=dist, logits=logits).items():
        grad = leaf.grad.double().numpy()
        rng = recipe._rng("probe-" + name)
        probes = rng.normal(size=(8, *grad.shape))
        found = np.append((probes * grad).reshape(8, -1).sum(1), np.abs(grad).sum())
        wanted = REFERENCE[f"{version}/{case}/grad_{name}"]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6 * wanted[-1])


@pytest.mark.parametrize("version", MIN_SIDE)
@pytest.mark.parametrize("case", recipe.LOSS_CASES)
def test_targets_of_the_sparse_assigner(make_head, case, version):
    gts, dist, logits = recipe.loss_case(case)
    assigner = sparse_assigner(recipe.CLASSES, min_side=MIN_SIDE[version])
    head = make_head(num_classes=recipe.CLASSES, train_cfg=dict(assigner=assigner))
    assign, found = head.assigner.assign, []
    head.assigner.assign = lambda *args: found.append(assign(*args)) or found[0]
    maps = outputs(torch.from_numpy(dist), torch.from_numpy(logits))
    head.loss_by_feat(*maps, samples(gts), [{}] * len(gts))
    ((targets, box, *_),) = found
    has_target = targets.score > 0
    row = targets.image * dist.shape[1] + targets.prior
    reference = {
        k: REFERENCE[f"{version}/{case}/{k}"] for k in ("row", "label", "score", "box")
    }
    np.testing.assert_array_equal(row[has_target], reference["row"])
    np.testing.assert_array_equal(targets.label[has_target], reference["label"])
    # Of IoU^6 in float32: either is up to 6e-5 off what float64 gives
    np.testing.assert_allclose(
        targets.score[has_target], reference["score"], rtol=1.2e-4, atol=1e-12
    )
    boxes = samples(gts)[:, 2:][box[has_target]]
    np.testing.assert_array_equal(boxes, reference["box"])
