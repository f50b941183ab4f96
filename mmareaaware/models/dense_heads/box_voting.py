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
    The others know where the object is too, and what it is. Voters $n$ of a kept box
    $k$ are the candidates with an overlap $u_n = \mathrm{IoU}(b_k, b_n)$ of `iou_thr`
    or more, the box itself among them. Those of its own class, $n \in k$, move it:

    $$
    b'_k = \frac{\sum_{n \in k} v_n\, b_n}{\sum_{n \in k} v_n}, \quad
    v_n = s_n\, e^{-(1 - u_n)^2 / \sigma}
    $$

    Its score falls where they disagree on the place, so boxes that are exact come
    first, and where another class $c$ has more votes $S_c$, the sum of the scores of
    its voters, so what is the other class comes last:

    $$
    s'_k = s_k
    \left(\frac{\sum_{n \in k} s_n u_n}{\sum_{n \in k} s_n}\right)^{\text{agreement}}
    \left(\frac{S_{c_k}}{\max_c S_c}\right)^{\text{contest}}
    $$

    The vote is that of [Gidaris and Komodakis](https://arxiv.org/abs/1505.01749) as
    [PAA](https://arxiv.org/abs/2007.08103) weighs it, and mmdet's ``PAAHead``; the
    falling scores are ours. Nothing is trained, the network and its exported form stay
    as they are.

    No score is higher afterwards, most are lower: choose a score threshold anew. With
    ``agreement=0, contest=0`` they stay, to the bit.

    Args:
        agreement: How much a score falls where voters disagree on the place.
        contest: How much a score falls where another class has more votes. 0 where an
            object may be of several classes.
        sigma: How fast the weight of a voter falls with its overlap.
        iou_thr: Overlap from which a candidate votes.

    Raises:
        ValueError: ``agreement`` or ``contest`` is negative, ``sigma`` not above 0, or
            ``iou_thr`` not between 0 and 1.

    Example:
        >>> model = dict(test_cfg=dict(box_voting=dict(type='BoxVoting')))
    """

    def __init__(
        self,
        agreement: float = 2.0,
        contest: float = 1.0,
        sigma: float = 0.025,
        iou_thr: float = 0.5,
    ) -> None:
        if not agreement >= 0:
            raise ValueError(f"agreement must not be negative, got {agreement}")
        if not contest >= 0:
            raise ValueError(f"contest must not be negative, got {contest}")
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        if not 0 < iou_thr < 1:
            raise ValueError(f"iou_thr must be between 0 and 1, got {iou_thr}")
        self.agreement = agreement
        self.contest = contest
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
        pairs = self._pairs(kept, candidates)
        boxes, agreements = self._place(kept, candidates, pairs)
        shares = self._shares(kept, candidates, pairs)
        factors = agreements**self.agreement * shares**self.contest
        lowered = kept.scores * factors.to(kept.scores.dtype)
        order = lowered.argsort(descending=True, stable=True)
        result = kept[order]
        result.bboxes = boxes[order].to(kept.bboxes.dtype)
        result.scores = lowered[order]
        return result

    def _pairs(
        self, kept: InstanceData, candidates: InstanceData
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair of a kept box and a voter the numbers of both, and the overlap.

        Most boxes are far from each other: overlaps are computed of those alone whose
        left and upper edges are near enough.
        """
        boxes, others = kept.bboxes.float(), candidates.bboxes.float()
        # A voter has iou_thr of each side of both, and at most 1 / iou_thr of one's own
        corner, side = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        lowest = (corner - (1 / self.iou_thr - 1) * side).unbind(1)
        highest = (corner + (1 - self.iou_thr) * side).unbind(1)
        left, top = others[:, 0].contiguous(), others[:, 1].contiguous()
        rows = max(1, PAIRS // len(others))
        parts = []
        for start in range(0, len(boxes), rows):
            part = slice(start, start + rows)
            is_near = left >= lowest[0][part, None]
            is_near &= left <= highest[0][part, None]
            is_near &= top >= lowest[1][part, None]
            is_near &= top <= highest[1][part, None]
            row, voter = is_near.nonzero(as_tuple=True)
            row = row + start
            overlap = bbox_overlaps(boxes[row], others[voter], is_aligned=True)
            enough = (overlap >= self.iou_thr).nonzero()[:, 0]
            parts.append((row[enough], voter[enough], overlap[enough]))
        row, voter, overlap = (torch.cat(part) for part in zip(*parts, strict=True))
        return row, voter, overlap

    def _place(
        self,
        kept: InstanceData,
        candidates: InstanceData,
        pairs: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Voted boxes (K, 4) and how far (K,) their voters agree, in float32."""
        boxes = kept.bboxes.float()
        row, voter, overlap = pairs
        is_same = kept.labels[row] == candidates.labels[voter]
        row, voter, overlap = row[is_same], voter[is_same], overlap[is_same]
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

    def _shares(
        self,
        kept: InstanceData,
        candidates: InstanceData,
        pairs: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """Votes (K,) for the class of a kept box, over those for the class with most.

        Returns float32.
        """
        row, voter, _ = pairs
        classes = int(candidates.labels.max()) + 1
        of_class = candidates.scores.new_zeros(len(kept) * classes, dtype=torch.float)
        of_class.index_add_(
            0,
            row * classes + candidates.labels[voter],
            candidates.scores.float()[voter],
        )
        of_class = of_class.view(len(kept), classes)
        own = of_class.gather(1, kept.labels[:, None])[:, 0]
        most = of_class.amax(1)
        return torch.where(most > 0, own / most, 1)


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
