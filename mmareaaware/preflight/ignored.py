"""Whether ignored boxes get from the annotations to the losses, once that is begun."""

from collections.abc import Iterator
from functools import partial

from mmengine.model import is_model_wrapper

from .finding import Finding, type_is

# By name: without MMYOLO neither is there
COLLATE = "ignore_aware_collate"
PREPROCESSOR = "IgnoreAwareDetDataPreprocessor"
READS_MASKS = ("with_mask", "mask2bbox")  # which only MMYOLO's turns into boxes


def ignored_findings(runner) -> Iterator[Finding]:
    """What drops the ignored boxes that ``ignore_aware_collate`` is there for.

    Args:
        runner: Of a training, its loops built.

    Yields:
        The findings; none with another collate function.
    """
    loader = runner.train_dataloader
    collate = loader.collate_fn
    while isinstance(collate, partial):
        collate = collate.func
    if getattr(collate, "__name__", None) != COLLATE:
        return
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    stands_there = type(model.data_preprocessor).__name__
    if stands_there != PREPROCESSOR:
        place = "model.data_preprocessor"
        yield Finding(
            place,
            f"{stands_there} drops the ignored boxes that ignore_aware_collate hands "
            f"on: set {type_is(place, PREPROCESSOR)}",
        )
    pipeline = getattr(loader.dataset, "pipeline", None)
    for i, transform in enumerate(getattr(pipeline, "transforms", ())):
        cls = type(transform)
        is_mmyolos = cls.__module__.startswith("mmyolo.")
        reads_masks = any(getattr(transform, name, False) for name in READS_MASKS)
        if cls.__name__ == "LoadAnnotations" and is_mmyolos and not reads_masks:
            yield Finding(
                f"train_dataloader.dataset.pipeline.{i}",
                "MMYOLO's LoadAnnotations drops the ignored boxes that "
                "ignore_aware_collate is to hand on: take mmdet.LoadAnnotations, or "
                "mmareaaware.datasets.ignore_aware(train_dataloader)",
            )
