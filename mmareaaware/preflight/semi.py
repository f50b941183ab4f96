"""What would go wrong silently in a semi-supervised training."""

from collections.abc import Iterator

from mmdet.engine.hooks import MeanTeacherHook
from mmdet.engine.runner import TeacherStudentValLoop
from mmdet.models.detectors import SemiBaseDetector
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from ..engine.hooks import SemiMeanTeacherHook
from ..models.losses import AreaAwareBCELoss
from .finding import Finding


def semi_findings(runner) -> Iterator[Finding]:
    """What is wrong with hooks and loops around a ``SemiYOLODetector``.

    Args:
        runner: Of a training, its loops built.

    Yields:
        The findings; none for another model.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not (isinstance(model, SemiBaseDetector) and hasattr(model, "pseudo_labeller")):
        return
    yield from _check_hooks(runner)
    waiting = (m for m in model.modules() if isinstance(m, AreaAwareBCELoss))
    if any(loss.awaits_class_counts for loss in waiting):
        yield Finding(
            "model.detector.bbox_head.loss_cls.class_counts",
            "'auto' would count the labels of the unlabelled images too: give the "
            "counts of the labelled ones as a list",
        )
    save_best = [h.save_best for h in runner.hooks if isinstance(h, CheckpointHook)]
    keys = [key for entry in save_best for key in _names(entry) if key != "auto"]
    if isinstance(runner._val_loop, TeacherStudentValLoop):
        for key in keys:
            if not key.startswith(("teacher/", "student/")):
                yield Finding(
                    "default_hooks.checkpoint.save_best",
                    f"{key!r}, and TeacherStudentValLoop has it once for each network: "
                    f"set 'teacher/{key}'",
                )


def _check_hooks(runner) -> Iterator[Finding]:
    place, names = "custom_hooks", [type(hook).__name__ for hook in runner.hooks]
    if not any(isinstance(hook, SemiMeanTeacherHook) for hook in runner.hooks):
        yield Finding(
            place, "nothing makes the teacher: add dict(type='SemiMeanTeacherHook')"
        )
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            yield Finding(
                place,
                f"{type(hook).__name__} would average student and teacher: take it "
                "out, the teacher is the average already",
            )
        if isinstance(hook, MeanTeacherHook):
            yield Finding(
                place,
                "MeanTeacherHook leaves BatchNorm's means and variances behind, and "
                "knows no burn-in: take SemiMeanTeacherHook",
            )
    counts_iters = isinstance(runner.train_loop, IterBasedTrainLoop)
    if "YOLOv5ParamSchedulerHook" in names and counts_iters:
        yield Finding(
            "default_hooks.param_scheduler",
            "YOLOv5ParamSchedulerHook counts epochs, and IterBasedTrainLoop has none: "
            "its learning rate would stay that of epoch 0. Set "
            "dict(_delete_=True, type='ParamSchedulerHook') and param_scheduler",
        )
    is_wrapper = not hasattr(runner.train_dataloader.dataset, "pipeline")
    for name in ("PipelineSwitchHook", "YOLOXModeSwitchHook"):
        if name in names and is_wrapper:
            yield Finding(
                place,
                f"{name} has no effect on a "
                f"{type(runner.train_dataloader.dataset).__name__}: take it out",
            )


def _names(save_best) -> list[str]:
    if save_best is None:
        return []
    return [save_best] if isinstance(save_best, str) else list(save_best)
