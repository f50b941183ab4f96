"""Counts the classes of the training set for losses that ask for it."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...models.losses import AreaAwareBCELoss


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Fills ``class_counts='auto'`` from the annotations of the training set.

    It reads annotations only, no image, and ignores boxes that are marked as ignored.
    It runs before other hooks copy the model (EMA).

    Raises:
        TypeError: Before training, when the data set cannot list its annotations.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner) -> None:
        """Count, when this run is a training and a loss waits for counts."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        waiting = [
            m
            for m in model.modules()
            if isinstance(m, AreaAwareBCELoss) and m.awaits_class_counts
        ]
        if not waiting:
            print_log(
                "ClassCountsHook: no loss has class_counts='auto' and a class weight "
                "or margin that depends on them",
                runner.logger,
            )
            return
        dataset = runner.train_dataloader.dataset
        classes = dataset.metainfo["classes"]
        counts = count_classes(dataset, len(classes))
        table = ", ".join(f"{c} {n}" for c, n in zip(classes, counts, strict=True))
        print_log(f"class counts of the training set: {table}", runner.logger)
        device = next(model.parameters()).device
        for loss in waiting:
            loss.set_class_counts(counts)
            loss.to(device)  # the model is there already


def count_classes(dataset, num_classes: int) -> list[int]:
    """How many boxes of each class a detection data set has.

    Args:
        dataset: A data set of mmdet or mmyolo, or a wrapper of MMEngine around one.
        num_classes: The number C of classes.

    Returns:
        C counts.

    Raises:
        TypeError: The data set has no ``get_data_info``.
    """
    if not hasattr(dataset, "get_data_info"):
        raise TypeError(
            f"class_counts='auto' needs a data set with get_data_info, and "
            f"{type(dataset).__name__} has none; give class_counts=[...] instead"
        )
    counts = [0] * num_classes
    for index in range(len(dataset)):
        for instance in dataset.get_data_info(index)["instances"]:
            if not instance.get("ignore_flag", 0):
                counts[instance["bbox_label"]] += 1
    return counts
