"""What the detections that NMS drops say about the ones that it keeps."""

from collections.abc import Mapping

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

NAME = "BoxVoting"
PAIRS = 2**18  # of boxes kept × candidates that are looked at together


@TASK_UTILS.register_module()
class BoxVoting:
    r"""After NMS: boxes by the vote of their neighbours, scores by how they agree.

    Several priors find the same object, and NMS keeps the box of the highest score.
    The others know where the object is too. Voters $n$ of a kept box $k$ are the
    candidates of its class, itself among them, with an overlap
    $u_n = \mathrm{IoU}(b_k, b_n)$ of `iou_thr` or more, and

    $$
    b'_k = \frac{\sum_n v_n\, b_n}{\sum_n v_n}, \quad
    v_n = s_n\, e^{-(1 - u_n)^2 / \sigma}
    \qquad
    s'_k = s_k \left(\frac{\sum_n s_n u_n}{\sum_n s_n}\right)^{\text{agreement}}
    $$

    The vote is that of [Gidaris and Komodakis](https://arxiv.org/abs/1505.01749) as
    [PAA](https://arxiv.org/abs/2007.08103) weighs it, and mmdet's ``PAAHead``. The
    score falls where the voters disagree on the place, so boxes that are exact come
    first. Nothing is trained, the network and its exported form stay as they are.

    All scores are lower afterwards, never higher: choose a score threshold anew. With
    ``agreement=0`` they stay, to the bit.

    Args:
        agreement: How much a score falls where voters disagree.
        sigma: How fast the weight of a voter falls with its overlap.
        iou_thr: Overlap from which a candidate votes.

    Raises:
        ValueError: ``agreement`` is negative, ``sigma`` not above 0, or ``iou_thr`` not
            between 0 and 1.

    Example:
        >>> model = dict(test_cfg=dict(box_voting=dict(type='BoxVoting')))
    """

    def __init__(
        self, agreement: float = 2.0, sigma: float = 0.025, iou_thr: float = 0.5
    ) -> None:
        if not agreement >= 0:
            raise ValueError(f"agreement must not be negative, got {agreement}")
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        if not 0 < iou_thr < 1:
            raise ValueError(f"iou_thr must be between 0 and 1, got {iou_thr}")
        self.agreement = agreement
        self.sigma = sigma
        self.iou_thr = iou_thr

    def __call__(self, kept: InstanceData, candidates: InstanceData) -> InstanceData:
        """Move the boxes of an image, lower their scores, and sort them anew.

        Args:
            kept: Detections that NMS has kept: ``bboxes`` (K, 4), ``scores`` and
                ``labels`` (K,), and whatever else there is of each.
            candidates: Those that NMS has seen, in the same coordinates: ``bboxes``
                (N, 4), ``scores`` and ``labels`` (N,).

        Returns:
            The kept ones, by falling score.
        """
        if not len(kept):
            return kept
        boxes, agreements = self._vote(kept, candidates)
        lowered = kept.scores * (agreements**self.agreement).to(kept.scores.dtype)
        order = lowered.argsort(descending=True, stable=True)
        result = kept[order]
        result.bboxes = boxes[order].to(kept.bboxes.dtype)
        result.scores = lowered[order]
        return result

    def _vote(
        self, kept: InstanceData, candidates: InstanceData
    ) -> tuple[Tensor, Tensor]:
        """Voted boxes (K, 4) and the agreement (K,) of their voters, in float32."""
        boxes = kept.bboxes.float()
        row, voter, overlap = self._voters(kept, candidates)
        trust = candidates.scores.float()[voter]
        weight = trust * torch.exp(-((1 - overlap) ** 2) / self.sigma)
        sums = boxes.new_zeros(len(boxes), 7).index_add_(
            0,
            row,
            torch.cat(
                [
                    weight[:, None] * (candidates.bboxes.float()[voter] - boxes[row]),
                    torch.stack([weight, trust, trust * overlap], 1),
                ],
                1,
            ),
        )
        moves, weights, trusts, agreeing = sums.split([4, 1, 1, 1], 1)
        # A box without an area overlaps nothing, not even itself
        moves = torch.where(weights > 0, moves / weights, 0)
        agreements = torch.where(trusts > 0, agreeing / trusts, 1)
        return boxes + moves, agreements[:, 0]

    def _voters(
        self, kept: InstanceData, candidates: InstanceData
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair of a kept box and a voter the numbers of both, and the overlap.

        Most pairs are of two classes, the rest seldom overlap: no tensor of all
        overlaps is made.
        """
        boxes, others = kept.bboxes.float(), candidates.bboxes.float()
        rows = max(1, PAIRS // len(others))
        pairs = []
        for start in range(0, len(boxes), rows):
            same_class = kept.labels[start : start + rows, None] == candidates.labels
            row, voter = same_class.nonzero(as_tuple=True)
            row = row + start
            overlap = bbox_overlaps(boxes[row], others[voter], is_aligned=True)
            votes = overlap >= self.iou_thr
            pairs.append((row[votes], voter[votes], overlap[votes]))
        row, voter, overlap = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return row, voter, overlap


def build_box_voting(test_cfg: Mapping | None) -> BoxVoting | None:
    """The voting that a head's ``test_cfg`` asks for; None for none.

    Raises:
        ValueError: ``box_voting`` is something else.
    """
    settings = (test_cfg or {}).get("box_voting")
    if settings is None:
        return None
    voting = None
    if isinstance(settings, Mapping) and "type" in settings:
        voting = TASK_UTILS.build(settings)
    if not isinstance(voting, BoxVoting):
        raise ValueError(
            f"test_cfg.box_voting must be dict(type='{NAME}'), got {settings!r}"
        )
    return voting


def votes(head: type | None) -> bool:
    """Whether the detections of a class of heads can be voted on."""
    return getattr(head, "gives_detections", False)


class BoxVotingMixin:
    """Put it before a dense head whose detections go through NMS.

    With ``test_cfg.box_voting`` they go through a `BoxVoting` after it.

    Raises:
        ValueError: When built, that ``test_cfg.box_voting`` is something else, or that
            the head gives proposals.
    """

    gives_detections = True

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        test_cfg = getattr(self, "test_cfg", None)
        if build_box_voting(test_cfg) and not self.gives_detections:
            raise ValueError(
                f"{type(self).__name__} gives proposals, which are not voted on: leave "
                "box_voting out of its test_cfg"
            )

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: Mapping,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """As the stock head, then the vote."""
        voting = build_box_voting(cfg)
        if voting is None or not with_nms:
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        post_process = super()._bbox_post_process
        candidates = post_process(
            results, cfg, rescale, with_nms=False, img_meta=img_meta
        )
        return voting(post_process(candidates, cfg, img_meta=img_meta), candidates)
