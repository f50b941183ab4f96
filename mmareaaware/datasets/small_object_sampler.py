"""Images with small objects, drawn more often than others."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


@DATA_SAMPLERS.register_module()
class SmallObjectSampler(Sampler):
    """Draws images with small objects ``times`` as often as those without any.

    An epoch stays as long as it is, so that iterations and schedules do not change:
    what is drawn more often takes the place of the rest. An image that is due 1.4 times
    in an epoch is drawn once or twice. What is drawn depends on the seed, the epoch and
    the rank alone: a run that is resumed goes on as it would have.

    It does nothing where all images have small objects or none has any; there
    `SmallObjectCopyPaste` can do the same within the images.

    Args:
        dataset: Has ``get_data_info`` with ``instances``, as all of MMDetection have.
        times: Frequency of an image with small objects relative to one without.
        max_area: Area of a box in px² below which an object is small, in the image
            file. Ignored boxes do not count.
        seed: The same for all ranks; MMEngine passes that of the run.

    Raises:
        ValueError: ``times`` is below 1, no area is below ``max_area``, or the data
            set cannot say what is in its images.

    Example:
        >>> train_dataloader = dict(
        ...     sampler=dict(_delete_=True, type='SmallObjectSampler', times=2))
    """

    def __init__(
        self,
        dataset: Sized,
        times: float = 2.0,
        max_area: float = 32**2,
        seed: int | None = None,
    ) -> None:
        if not times >= 1:
            raise ValueError(
                f"times must be at least 1, got {times}; 1 draws all images alike"
            )
        if not max_area > 0:
            raise ValueError(f"max_area must be above 0 px², got {max_area}")
        if not hasattr(dataset, "get_data_info"):
            raise ValueError(
                "SmallObjectSampler needs a data set with get_data_info, got "
                f"{type(dataset).__name__}"
            )
        self.dataset = dataset
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        has_small = [
            _has_small_object(dataset.get_data_info(index), max_area)
            for index in range(len(dataset))
        ]
        self.weights = np.where(has_small, float(times), 1.0)

    def __len__(self) -> int:
        """Images of this rank in an epoch."""
        return -(-len(self.dataset) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        """The images of this rank in this epoch."""
        rng = np.random.default_rng([self.seed, self.epoch])
        size = len(self.dataset)
        order = rng.permutation(size)
        # Points at the same distance along the weights: as even as can be.
        upper = np.cumsum(self.weights[order])
        points = (rng.random() + np.arange(size)) * upper[-1] / size
        drawn = order[np.searchsorted(upper[:-1], points, side="right")]
        drawn = np.resize(rng.permutation(drawn), len(self) * self.world_size)
        yield from drawn[self.rank :: self.world_size].tolist()

    def set_epoch(self, epoch: int) -> None:
        """MMEngine calls this before every epoch."""
        self.epoch = epoch


def _has_small_object(info: dict, max_area: float) -> bool:
    for instance in info["instances"]:
        x1, y1, x2, y2 = instance["bbox"]
        is_small = (x2 - x1) * (y2 - y1) < max_area
        if is_small and not instance["ignore_flag"]:
            return True
    return False
