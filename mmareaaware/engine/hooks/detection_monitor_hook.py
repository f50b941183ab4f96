"""Watches how much a detector finds while it trains, and warns when that is nothing."""

import logging
from collections.abc import Sequence

import torch
from mmdet.models.detectors import (
    BaseDetector,
    SingleStageDetector,
    TwoStageDetector,
)
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.structures import DetDataSample
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from .classification_probe import ClassificationProbe

COLLAPSE = "The classifier calls nearly everything background. What helps: "
FOR_TWO_STAGES = (
    "more weight on foreground (PosWeightedCrossEntropyLoss with pos_weight=5.0 in "
    "rpn_head.loss_cls and 3.0 in roi_head.bbox_head.loss_cls), "
)
FOR_ALL = (
    "clipped gradients (optim_wrapper.clip_grad=dict(max_norm=10)), a lower learning "
    "rate or a longer warm-up, and a smaller λ_bg if there is a background penalty"
)


@HOOKS.register_module()
class DetectionMonitorHook(Hook):
    """Logs what the detector finds in its training images, and in validation.

    Every ``interval`` iterations the batch that was just trained on is run once more,
    in eval mode, without gradient and without a mask head. Logged as scalars, over all
    ranks:

    - ``detections_<thr>``: detections per image from that score on, after NMS; the
      same at validation;
    - ``fg_score``, ``bg_score``: mean score of the right class over the positives of
      the classification loss, and mean of the highest score over its negatives;
    - ``roi_fg_share``: share of foreground among the sampled RoIs (two-stage only).

    Detections have *collapsed* when there are fewer than ``min_detections`` an image
    from the lowest threshold on, ``patience`` times in a row. That is warned of once,
    and again only after they had recovered.

    Training itself is not changed by a bit.

    Args:
        interval: Iterations from one look to the next.
        score_thrs: The score thresholds.
        min_detections: Per image; fewer is a collapse.
        patience: Looks in a row with fewer.
        burn_in: Iterations at the start in which few detections are no collapse.
        stop_on_collapse: End the training by an error instead of a warning.

    Raises:
        ValueError: A value is out of range. Before training, when the model is neither
            a one-stage nor a two-stage detector, or its head has no ``loss_cls``, as
            that of SSD.
        RuntimeError: In training, on a collapse, with ``stop_on_collapse``.
    """

    def __init__(
        self,
        interval: int = 100,
        score_thrs: Sequence[float] = (0.05, 0.3, 0.5),
        min_detections: float = 0.1,
        patience: int = 5,
        burn_in: int = 1000,
        stop_on_collapse: bool = False,
    ) -> None:
        for name, number in dict(interval=interval, patience=patience).items():
            if not number >= 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        for name, value in dict(min_detections=min_detections, burn_in=burn_in).items():
            if not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not score_thrs or not all(0 <= thr < 1 for thr in score_thrs):
            raise ValueError(f"score_thrs must be scores in [0, 1), got {score_thrs}")
        self.interval = interval
        self.score_thrs = tuple(sorted(score_thrs))
        self.min_detections = min_detections
        self.patience = patience
        self.burn_in = burn_in
        self.stop_on_collapse = stop_on_collapse
        self._probe: ClassificationProbe | None = None
        self._low_looks = 0

    def before_train(self, runner) -> None:
        """See that this is a detector that can be looked at."""
        model = _unwrap(runner.model)
        is_two_stage = isinstance(model, TwoStageDetector) and model.with_rpn
        if not (isinstance(model, SingleStageDetector) or is_two_stage):
            raise ValueError(
                "DetectionMonitorHook watches one-stage detectors, and two-stage ones "
                f"with their own RPN, and model.type is {type(model).__name__!r}: take "
                "the hook out of custom_hooks"
            )
        head = _classifying_head(model)
        if not isinstance(getattr(head, "loss_cls", None), nn.Module):
            raise ValueError(
                "DetectionMonitorHook listens to the module loss_cls of the head, and "
                f"{type(head).__name__} has none: take the hook out of custom_hooks"
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Listen to the classification loss of an iteration that is looked at."""
        if self.every_n_train_iters(runner, self.interval):
            head = _classifying_head(_unwrap(runner.model))
            self._probe = ClassificationProbe(head.get_submodule("loss_cls"))

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Count the detections, log, and see whether they have collapsed."""
        if self._probe is None:
            return
        probe, self._probe = self._probe, None
        probe.close()
        model = _unwrap(runner.model)
        with torch.no_grad(), runner.optim_wrapper.optim_context(runner.model):
            results = _detect(model, data_batch["inputs"])
        counts = self._count(results)
        counts = torch.cat([counts, probe.sums.to(counts)])
        all_reduce(counts)
        detections, sums = counts.split([len(self.score_thrs) + 1, len(probe.sums)])
        values = self._per_image(detections)
        lowest = values[f"detections_{self.score_thrs[0]:g}"]
        if probe.calls:
            values |= _mean_scores(sums, is_two_stage=hasattr(model, "roi_head"))
        for name, value in values.items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        has_objects = "fg_score" in values or not probe.calls
        if runner.iter >= self.burn_in and has_objects:
            self._watch(runner, lowest)

    def before_val_epoch(self, runner) -> None:
        """Start counting."""
        self._val_counts = torch.zeros(len(self.score_thrs) + 1, dtype=torch.float64)

    def after_val_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Count the detections of a validation batch."""
        results = [sample.pred_instances for sample in outputs]
        self._val_counts += self._count(results).cpu()

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Log the detections per image."""
        all_reduce(self._val_counts)
        for name, value in self._per_image(self._val_counts).items():
            runner.message_hub.update_scalar(f"val/{name}", value)

    def _count(self, results: Sequence) -> Tensor:
        """Detections from each threshold on, and the number of images."""
        scores = torch.cat([result.scores.float() for result in results])
        thresholds = scores.new_tensor(self.score_thrs)
        counts = (scores >= thresholds[:, None]).sum(1).double()
        return torch.cat([counts, counts.new_tensor([len(results)])])

    def _per_image(self, counts: Tensor) -> dict[str, float]:
        *numbers, num_imgs = counts.tolist()
        return {
            f"detections_{thr:g}": number / num_imgs
            for thr, number in zip(self.score_thrs, numbers, strict=True)
        }

    def _watch(self, runner, detections: float) -> None:
        """Count the looks in a row with too few detections per image."""
        if detections >= self.min_detections:
            self._low_looks = 0
            return
        self._low_looks += 1
        if self._low_looks != self.patience:
            return
        is_two_stage = hasattr(_unwrap(runner.model), "roi_head")
        advice = FOR_TWO_STAGES + FOR_ALL if is_two_stage else FOR_ALL
        message = (
            f"detections collapsed: at iteration {runner.iter + 1} there are "
            f"{detections:.3g} per image with a score of {self.score_thrs[0]:g} or "
            f"more, and there were fewer than {self.min_detections:g} in the last "
            f"{self.patience} looks. {COLLAPSE}{advice}"
        )
        if self.stop_on_collapse:
            raise RuntimeError(message)
        print_log(message, runner.logger, logging.WARNING)


def _mean_scores(sums: Tensor, is_two_stage: bool) -> dict[str, float]:
    """From the sums of a probe; what there is nothing of is left out."""
    fg_score, num_fg, bg_score, num_bg = sums.tolist()
    values = {}
    if num_fg:
        values["fg_score"] = fg_score / num_fg
    if num_bg:
        values["bg_score"] = bg_score / num_bg
    if is_two_stage and num_fg + num_bg:
        values["roi_fg_share"] = num_fg / (num_fg + num_bg)
    return values


def _unwrap(model: nn.Module) -> BaseDetector:
    return model.module if is_model_wrapper(model) else model


def _classifying_head(model: BaseDetector) -> nn.Module:
    """The head that gives detections their class; of a cascade, the last."""
    if not hasattr(model, "roi_head"):
        return model.bbox_head
    head = model.roi_head.bbox_head
    return head[-1] if isinstance(model.roi_head, CascadeRoIHead) else head


def _detect(model: BaseDetector, inputs: Tensor | Sequence[Tensor]) -> list:
    """Detections of raw images in the coordinates of the network input, by image."""
    was_training = model.training
    model.eval()
    try:
        data = dict(inputs=inputs, data_samples=None)
        images = model.data_preprocessor(data, False)["inputs"]  # (B, 3, H, W)
        shape = tuple(images.shape[2:])
        meta = dict(
            img_shape=shape,
            ori_shape=shape,
            batch_input_shape=shape,
            pad_shape=shape,
            scale_factor=(1.0, 1.0),
        )
        samples = [DetDataSample(metainfo=meta) for _ in images]
        features = model.extract_feat(images)
        if not hasattr(model, "roi_head"):
            return model.bbox_head.predict(features, samples, rescale=False)
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        roi_head = model.roi_head
        metas = [sample.metainfo for sample in samples]
        return roi_head.predict_bbox(features, metas, proposals, roi_head.test_cfg)
    finally:
        model.train(was_training)
