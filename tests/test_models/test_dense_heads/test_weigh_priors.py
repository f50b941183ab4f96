"""The area weight of all priors of a YOLOv8, by the area that each predicts."""

import pytest
import torch
import torch.nn.functional as F

from mmareaaware.models.box_areas import box_areas
from mmareaaware.models.dense_heads.as_predicted import as_predicted
from mmareaaware.models.losses import PowerAreaWeight
from tests.conftest import NUM_CLASSES, batch, features
from tests.test_models.test_dense_heads.test_sparse_path import assert_paths_agree

# The boxes of a head that is not trained have a side of about 15 strides
REF_AREA = 400.0**2
POWER = dict(type="PowerAreaWeight", ref_area=REF_AREA, gamma=0.7, max_weight=9.0)
SPARSE = dict(assigner=dict(type="SparseTaskAlignedAssigner", num_classes=NUM_CLASSES))
BOXES = {"many": (25, 3), "one image empty": (7, 0), "none": (0, 0)}


def loss_cls(area_weight=POWER, **options):
    return dict(type="AreaAwareBCELoss", area_weight=area_weight, **options)


def losses_of(head, samples, ignored=None):
    outputs = head([f.double() for f in features()])
    return head.loss_by_feat(*outputs, *samples.values(), ignored)


def double(samples):
    return samples | dict(bboxes_labels=samples["bboxes_labels"].double())


@pytest.mark.parametrize("normalize", ["mean", "none"])
@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_formula(make_head, boxes, normalize):
    settings = dict(
        loss_cls=loss_cls(normalize=normalize, loss_weight=1.0, reduction="none"),
        weigh_priors=True,
        train_cfg=SPARSE,
    )
    head, samples = make_head(**settings).double(), double(batch(boxes))
    ignored = torch.tensor([[1, 20.0, 20, 90, 90]]).double()
    losses = losses_of(head, samples, ignored)

    outputs = head([f.double() for f in features()])
    matched = head.match(outputs, samples["bboxes_labels"], 2)
    logits = torch.cat([z.flatten(2) for z in outputs[0]], 2).mT
    distances = torch.cat([d.flatten(2) for d in outputs[1]], 2).mT
    xy, stride = head._priors(outputs[0]).points.split(2, 1)
    sides = (distances[..., :2] + distances[..., 2:]) * stride
    weights = ((REF_AREA / sides.prod(-1)) ** 0.7).clamp(1, 9)
    assert weights.std() > 0.1
    targets = matched.targets.dense(*logits.shape)
    if normalize == "mean" and targets.any():
        weights = weights * targets.sum() / (weights * targets.sum(-1)).sum()
    elif normalize == "mean":
        weights = torch.ones_like(weights)
    left_out = ((xy > 20) & (xy < 90)).all(1) & (targets.sum(-1) < 1e-6)
    weights[1, left_out[1]] = 0
    costs = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    expected = (weights * costs.sum(-1)).sum() / targets.sum().clamp(min=1) * 2
    torch.testing.assert_close(losses["loss_cls"], expected, rtol=1e-6, atol=0)


def test_the_best_score_stays_where_it_is(make_head):
    """For logits at which the plain loss has no gradient, this one has none either."""
    targets = torch.rand(2, 336, NUM_CLASSES, dtype=torch.float64)
    head = make_head(loss_cls=loss_cls(), weigh_priors=True).double()
    areas = torch.rand(2, 336, dtype=torch.float64).exp() * 500
    weight = PowerAreaWeight()(type("P", (), dict(areas=areas)))
    logits = targets.logit().requires_grad_()
    head.loss_cls(logits, targets, weight, reduction_override="sum").backward()
    assert logits.grad.abs().max() < 1e-12


def test_sparse_equals_dense(make_head):
    settings = dict(weigh_priors=True, weigh_boxes=True)
    for penalty in (None, dict(type="BgPenaltyLoss", lambda_bg=30.0)):
        for boxes in BOXES.values():
            assert_paths_agree(
                make_head,
                batch(boxes),
                loss_cls=loss_cls(),
                loss_bg=penalty,
                **settings,
            )


@pytest.mark.parametrize(
    "option", [dict(strength=0.0), dict(area_weight=POWER | dict(gamma=0.0))]
)
def test_neutral_equals_the_plain_loss_bit_for_bit(make_head, option):
    samples = batch((25, 3))
    heads = (
        make_head(loss_cls=loss_cls(**option), weigh_priors=True, train_cfg=SPARSE),
        make_head(loss_cls=loss_cls(None), train_cfg=SPARSE),
    )
    ours, plain = (head.loss(features(), samples) for head in heads)
    for name in ("loss_cls", "loss_bbox", "loss_dfl"):
        assert torch.equal(ours[name], plain[name])


def test_background_as_small_as_a_positive_gains_as_much(make_head):
    """The gradient of each prior's logits, by the area it predicts."""
    grads, samples = [], batch((25, 3))
    for options in (dict(area_weight=None), dict(normalize="none")):
        head = make_head(
            loss_cls=loss_cls(**options),
            weigh_priors=options.get("area_weight", 1) is not None,
            train_cfg=SPARSE,
        )
        outputs = head(features())
        for score in outputs[0]:
            score.retain_grad()
        head.loss_by_feat(*outputs, *samples.values())["loss_cls"].backward()
        grads.append(torch.cat([s.grad.flatten(2) for s in outputs[0]], 2).mT)
    matched = head.match(outputs, samples["bboxes_labels"], 2)
    expected = (REF_AREA / box_areas(matched.all_pred_boxes)) ** 0.7
    expected = expected.clamp(1, 9).unsqueeze(-1) * grads[0]
    torch.testing.assert_close(grads[1], expected)


def test_an_area_weight_is_needed(make_head):
    with pytest.raises(ValueError, match="weigh_priors=True takes the area weight"):
        make_head(weigh_priors=True)


def test_all_priors_are_weighed_on_their_level(make_head):
    loss = loss_cls(dict(type="PyramidMembershipWeight"))
    head = make_head(loss_cls=loss, weigh_priors=True, train_cfg=SPARSE)
    samples, outputs = batch((25, 3)), head(features())
    matched = head.match(outputs, samples["bboxes_labels"], 2)
    seen = as_predicted(head.positives(matched), matched)
    assert torch.equal(seen.areas, box_areas(matched.all_pred_boxes))
    assert torch.equal(seen.pred_areas, seen.areas)  # no mismatch
    assert torch.equal(seen.strides, head._priors(outputs[0]).points[:, 2])
    assert head.loss_by_feat(*outputs, *samples.values())["loss_cls"].isfinite()
