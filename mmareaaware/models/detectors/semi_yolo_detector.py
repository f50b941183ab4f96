"""A YOLO that learns from labelled images and from unlabelled ones."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.models.data_preprocessors import MultiBranchDataPreprocessor
from mmdet.models.detectors import SemiBaseDetector
from mmdet.models.utils import (
    rename_loss_dict,
    reweight_loss_dict,
    unpack_gt_instances,
)
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmyolo.models import YOLODetector, YOLOv5DetDataPreprocessor
from torch import Tensor, nn

from ..dense_heads import AreaAwareYOLOv8Head
from ..dense_heads.box_trust import TRUE_BOXES
from ..dense_heads.yolo_matching import is_plain
from ..semi import PseudoLabeller, PseudoLabels
from ..semi.projection import check_has_homography
from ..task_modules import SparseTaskAlignedAssigner

UNLABELLED = ("unsup_teacher", "unsup_student")
BRANCHES = ("sup", *UNLABELLED)
NETWORKS = ("teacher", "student")
TESTED_ON = ("predict_on", "forward_on", "extract_feat_on")


@MODELS.register_module()
class SemiYOLODetector(SemiBaseDetector):
    r"""A student that learns from labels and from a teacher, who is its own mean.

    $$
    L = L_{sup} + \lambda_u L_{unsup}
    $$

    While $\lambda_u$ is exactly 0, the burn-in, neither the teacher nor the
    unlabelled branch is run, and the training is the supervised one, bit for bit. From
    then on the teacher's detections on the weak views of the unlabelled images become
    targets on their strong views, see ``PseudoLabeller``. The losses there are
    divided by $\max(S_u, S_s B_u / B_s)$, S the sums of the targets of all ranks
    and B the numbers of images: with $S_u$ alone, one pseudo-box in a batch would
    weigh as much as all labelled ones, and the background of all images with it.

    Goes with ``SemiMeanTeacherHook``, which makes the teacher, and with a
    ``LossParamSchedulerHook`` with ``param='lambda_u'``. Labels of unlabelled
    images are never looked at, though they may be there.

    Args:
        detector: Config of a ``YOLODetector`` with an ``AreaAwareYOLOv8Head`` and a
            ``SparseTaskAlignedAssigner``: YOLOv8 or YOLO11, with any levels.
        lambda_u: $\lambda_u$, 0 for none.
        pseudo_labels: Arguments of ``PseudoLabeller`` but the number of classes.
        semi_test_cfg: ``predict_on``, ``forward_on`` and ``extract_feat_on``, each
            ``'teacher'``, the default, or ``'student'``.
        data_preprocessor: Config of a ``MultiBranchDataPreprocessor`` around a
            ``DetDataPreprocessor``. Branches: ``sup``, ``unsup_teacher``, the weak
            view, and ``unsup_student``, the strong view; the data samples of the latter
            two have ``homography_matrix`` and ``img_shape``.
        init_cfg: As for ``SemiBaseDetector``.

    Raises:
        ValueError: A part is one that this does not work with.

    Attributes:
        last_pseudo_labels: Those of the last iteration, for hooks; None in the burn-in.
    """

    def __init__(
        self,
        detector: Mapping,
        lambda_u: float = 1.0,
        pseudo_labels: Mapping | None = None,
        semi_test_cfg: Mapping | None = None,
        data_preprocessor: Mapping | None = None,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        # mmdet's defaults, spelt out: TeacherStudentValLoop puts None in place of none,
        # and that is the student
        test_cfg = dict.fromkeys(TESTED_ON, "teacher") | dict(semi_test_cfg or {})
        for key, network in test_cfg.items():
            if network not in NETWORKS:
                raise ValueError(
                    f"semi_test_cfg.{key} must be one of {NETWORKS}, got {network!r}"
                )
        super().__init__(
            detector,
            semi_train_cfg=dict(freeze_teacher=True),
            semi_test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        _check_detector(self.student)
        _check_preprocessor(self.data_preprocessor)
        self.lambda_u = lambda_u
        num_classes = self.student.bbox_head.num_classes
        self.pseudo_labeller = PseudoLabeller(num_classes, **(pseudo_labels or {}))
        self.last_pseudo_labels: PseudoLabels | None = None
        self.data_preprocessor.register_forward_pre_hook(
            self._leave_out_unlabelled, with_kwargs=True
        )

    @property
    def lambda_u(self) -> float:
        """$\\lambda_u$, 0 for none."""
        return self._lambda_u

    @lambda_u.setter
    def lambda_u(self, value: float) -> None:
        if not value >= 0:  # nan is not
            raise ValueError(f"lambda_u must not be negative, got {value}")
        self._lambda_u = value

    def train(self, mode: bool = True) -> "SemiYOLODetector":
        """Switch the student; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(
        self,
        multi_batch_inputs: Mapping[str, Tensor],
        multi_batch_data_samples: Mapping[str, Sequence[DetDataSample]],
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            multi_batch_inputs: Images of each branch, (B, 3, H, W).
            multi_batch_data_samples: Their data samples.

        Returns:
            Those of the head, with ``sup_`` and ``unsup_`` before their names.

        Raises:
            ValueError: A branch or a homography is missing.
        """
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        if self.lambda_u == 0:
            self.last_pseudo_labels = None
            return rename_loss_dict(
                "sup_", self.student.loss(inputs["sup"], samples["sup"])
            )
        _check_branches(samples)
        truth, ignored, metas = unpack_gt_instances(samples["sup"])
        labelled = dict(
            bboxes_labels=truth,
            img_metas=metas,
            bboxes_ignored=ignored,
            trust=TRUE_BOXES,
        )
        losses = rename_loss_dict("sup_", self.student.loss(inputs["sup"], labelled))

        labeller, teacher = self.pseudo_labeller, self.teacher
        weak, strong = samples["unsup_teacher"], samples["unsup_student"]
        detections = labeller.detect(teacher, inputs["unsup_teacher"])
        labels = labeller.label(detections, weak, strong)
        per_image = losses["sup_target_sum"].detach() / len(truth)
        pseudo_labelled = dict(
            bboxes_labels=labels.boxes,
            img_metas=[sample.metainfo for sample in strong],
            bboxes_ignored=labels.ignored,
            trust=labeller.trust(labels, least_sum=per_image * len(strong)),
        )
        unsup = self.student.loss(inputs["unsup_student"], pseudo_labelled)
        unsup = reweight_loss_dict(unsup, self.lambda_u)
        losses.update(rename_loss_dict("unsup_", unsup))
        self.last_pseudo_labels = labels
        labeller.thresholds.update(
            detections, truth, lambda: labeller.detect(teacher, inputs["sup"])
        )
        return losses

    def _leave_out_unlabelled(
        self, _: nn.Module, args: tuple, kwargs: dict
    ) -> tuple[tuple, dict] | None:
        """In the burn-in the unlabelled images need no preprocessing."""
        data, *training = args  # or by name, as where several processes train
        if self.lambda_u > 0 or (training or [kwargs.get("training")]) != [True]:
            return None
        _check_branches(data["data_samples"])
        labelled = {key: dict(sup=found["sup"]) for key, found in data.items()}
        return (labelled, *training), kwargs

    def parse_losses(
        self, losses: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and what is logged.

        Args:
            losses: From ``loss``.

        Returns:
            The sum of all losses, and all values by name, with the totals ``loss_sup``
            and ``loss_unsup``, of which the latter is weighed.
        """
        total, values = super().parse_losses(losses)
        for branch in ("sup", "unsup"):
            parts = [v for k, v in values.items() if k.startswith(f"{branch}_loss")]
            values[f"loss_{branch}"] = sum(parts, torch.zeros_like(total)).detach()
        return total, values


def _check_detector(detector: nn.Module) -> None:
    """Whether a teacher can be looked at as ``detect`` does, and be believed."""
    if not isinstance(detector, YOLODetector):
        raise ValueError(
            "SemiYOLODetector is made of YOLODetectors, got detector.type="
            f"{type(detector).__name__!r}"
        )
    head = detector.bbox_head
    if not isinstance(head, AreaAwareYOLOv8Head):
        raise ValueError(
            "SemiYOLODetector needs detector.bbox_head.type='AreaAwareYOLOv8Head', for "
            f"YOLOv8 and YOLO11, got {type(head).__name__!r}"
        )
    if head.score_shift is not None:
        raise ValueError(
            "SemiYOLODetector takes scores as the network gives them: leave "
            "detector.bbox_head.score_shift out, and fit one when it is trained"
        )
    assigner = getattr(head, "assigner", None)
    if not isinstance(assigner, SparseTaskAlignedAssigner):
        raise ValueError(
            "SemiYOLODetector needs detector.train_cfg.assigner.type="
            "'SparseTaskAlignedAssigner', which says which pseudo-box each prior is to "
            f"find, got {type(assigner).__name__!r}"
        )
    if not is_plain(head.head_module):
        raise ValueError(
            "SemiYOLODetector needs YOLOv8HeadModule or YOLO11HeadModule as "
            "detector.bbox_head.head_module, with the forward of the former, got "
            f"{type(head.head_module).__name__!r}"
        )


def _check_preprocessor(preprocessor: nn.Module) -> None:
    if not isinstance(preprocessor, MultiBranchDataPreprocessor):
        raise ValueError(
            "SemiYOLODetector needs data_preprocessor=dict("
            "type='mmdet.MultiBranchDataPreprocessor', data_preprocessor=dict("
            "type='mmdet.DetDataPreprocessor', ...)), got "
            f"{type(preprocessor).__name__!r}"
        )
    inner = preprocessor.data_preprocessor
    if isinstance(inner, YOLOv5DetDataPreprocessor):
        raise ValueError(
            "the branches are lists of data samples, which "
            f"{type(inner).__name__} does not take: set data_preprocessor."
            "data_preprocessor.type='mmdet.DetDataPreprocessor'"
        )


def _check_branches(samples: Mapping) -> None:
    """From the first iteration on, not from the end of the burn-in."""
    # None stands for an image that is in another branch
    found = {b: [s for s in samples.get(b, ()) if s is not None] for b in BRANCHES}
    missing = [branch for branch in BRANCHES if not found[branch]]
    if missing:
        raise ValueError(
            f"SemiYOLODetector trains on the branches {BRANCHES}, and this batch has "
            f"no images for {missing}: see the MultiBranch transform of the "
            "pipelines, and the sampler"
        )
    for branch in UNLABELLED:
        check_has_homography(found[branch][0], branch)
