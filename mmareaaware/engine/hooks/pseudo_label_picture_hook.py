"""Draws pseudo-boxes and ignored regions every few epochs."""

from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .semi_phases import SemiPhases, unwrap

if TYPE_CHECKING:  # it is built on MMYOLO
    from ...models.semi import PseudoLabels

BRANCHES = ("unsup_teacher", "unsup_student")


@HOOKS.register_module()
class PseudoLabelPictureHook(Hook):
    """Draws the pseudo-labels of the last batch of an epoch.

    Left the weak view with what the teacher has found, right the strong view with what
    the student is told: where the two do not agree, a transform records a homography
    that is not what it does. Written to ``vis_data/pseudo_labels`` in the directory of
    the run, as ``epoch_N.png``; none in the burn-in. Needs matplotlib.

    Args:
        interval: Epochs from one picture to the next; iterations in a training that
            counts these.
        max_images: As many images of the batch at most.
        by_epoch: Count epochs; otherwise iterations, and the name is ``iter_N.png``.

    Raises:
        ValueError: A number is below 1. Before training, when the model is no
            ``SemiYOLODetector``.
    """

    def __init__(
        self, interval: int = 5, max_images: int = 4, by_epoch: bool = True
    ) -> None:
        for name, value in dict(interval=interval, max_images=max_images).items():
            if not value >= 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.interval = interval
        self.max_images = max_images
        self.by_epoch = by_epoch

    def before_train(self, runner) -> None:
        """See that there are pseudo-labels to draw."""
        SemiPhases.of(runner)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Draw, if it is time to."""
        if self.by_epoch:
            is_last = self.end_of_epoch(runner.train_dataloader, batch_idx)
            if not (is_last and self.every_n_epochs(runner, self.interval)):
                return
            number, name = runner.epoch + 1, "epoch"
        else:
            if not self.every_n_train_iters(runner, self.interval):
                return
            number, name = runner.iter + 1, "iter"
        labels = unwrap(runner.model).last_pseudo_labels
        if labels is not None and data_batch is not None:
            self._draw(runner, labels, data_batch["inputs"], f"{name}_{number}", number)

    @master_only
    def _draw(
        self, runner, labels: "PseudoLabels", inputs: dict, name: str, step: int
    ) -> None:
        from ...visualization.pseudo_labels import draw_pseudo_labels, to_rgb

        preprocessor = unwrap(runner.model).data_preprocessor.data_preprocessor
        is_bgr = preprocessor._channel_conversion  # it turns BGR into RGB
        images = [[x for x in inputs[b] if x is not None] for b in BRANCHES]
        views = []
        for i, pair in enumerate(list(zip(*images, strict=True))[: self.max_images]):
            weak, strong = (to_rgb(image, is_bgr) for image in pair)
            views.append(dict(weak=weak, strong=strong, **_boxes(labels, i)))
        metainfo = getattr(runner.train_dataloader.dataset, "metainfo", {})
        num_classes = len(unwrap(runner.model).pseudo_labeller.thresholds.high)
        names = list(metainfo.get("classes") or map(str, range(num_classes)))
        figure = draw_pseudo_labels(views, names)
        path = Path(runner.log_dir) / "vis_data" / "pseudo_labels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=80)


def _boxes(labels: "PseudoLabels", image: int) -> dict[str, list]:
    """Those of one image of the batch."""
    found, is_pseudo = labels.detections[image], labels.is_pseudo[image]
    own = labels.boxes[:, 0] == image
    return dict(
        weak_boxes=found.bboxes[is_pseudo].tolist(),
        weak_ignored=found.bboxes[~is_pseudo].tolist(),
        strong_boxes=labels.boxes[own, 2:].tolist(),
        strong_ignored=labels.ignored[labels.ignored[:, 0] == image, 1:].tolist(),
        labels=labels.boxes[own, 1].long().tolist(),
        scores=labels.scores[own].tolist(),
    )
