"""Batches of labelled and unlabelled images."""

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

LABELLED, UNLABELLED = 0, 1


@DATA_SAMPLERS.register_module()
class SemiBatchSampler:
    """Every batch has its labelled images first and its unlabelled ones after them.

    An epoch is one pass over the unlabelled images; the last batch is filled up with
    the first ones of the pass. Labelled images come in shuffled passes that go on from
    epoch to epoch, so that each is drawn as often as any other, however many there are.

    What is drawn depends on the seed, the epoch and the rank alone: a run that is
    resumed at an epoch goes on as it would have. All ranks have the same number of
    batches and, within a pass, images of their own; one process with batches of the
    size of all ranks together draws the same images in an iteration.

    Args:
        sampler: From ``train_dataloader.sampler``, a ``DefaultSampler`` over
            ``ConcatDataset([labelled, unlabelled])``; has the seed, the epoch that
            MMEngine sets, and the rank. In what order it would draw does not matter.
        batch_size: Images of a batch of one process, from ``train_dataloader``.
        source_ratio: Labelled to unlabelled images in every batch.

    Raises:
        ValueError: The batch size is no multiple of the ratio's sum, a source is empty,
            or the sampler or its data set is another one.

    Example:
        >>> train_dataloader = dict(
        ...     batch_size=16,
        ...     sampler=dict(type='DefaultSampler', shuffle=True),
        ...     batch_sampler=dict(type='SemiBatchSampler', source_ratio=[1, 3]),
        ...     collate_fn=dict(type='pseudo_collate'),
        ...     dataset=dict(type='ConcatDataset', datasets=['labelled', 'unlabelled']))
    """

    def __init__(
        self,
        sampler: DefaultSampler,
        batch_size: int,
        source_ratio: Sequence[int] = (1, 1),
    ) -> None:
        if not isinstance(sampler, DefaultSampler):
            raise ValueError(
                "SemiBatchSampler needs train_dataloader.sampler="
                f"dict(type='DefaultSampler'), got {type(sampler).__name__}"
            )
        datasets = getattr(sampler.dataset, "datasets", None)
        if datasets is None or len(datasets) != 2:
            got = type(sampler.dataset).__name__
            got += f" of {len(datasets)}" if datasets is not None else ""
            raise ValueError(
                "SemiBatchSampler needs train_dataloader.dataset=dict(type="
                f"'ConcatDataset', datasets=[labelled, unlabelled]), got {got}"
            )
        ratio = tuple(source_ratio)
        if len(ratio) != 2 or not all(isinstance(n, int) and n > 0 for n in ratio):
            raise ValueError(
                "source_ratio must be two positive whole numbers, labelled and "
                f"unlabelled, got {source_ratio!r}"
            )
        times, rest = divmod(batch_size, sum(ratio))
        if rest or not times:
            raise ValueError(
                f"batch_size={batch_size} cannot be split {ratio[0]}:{ratio[1]}: set a "
                f"multiple of {sum(ratio)}, or another source_ratio"
            )
        self.lengths = [len(dataset) for dataset in datasets]
        for kind, length in zip(("labelled", "unlabelled"), self.lengths, strict=True):
            if not length:
                raise ValueError(
                    f"there is no {kind} image: check the ann_file, and that "
                    "filter_cfg.filter_empty_gt is not True where images have no boxes"
                )
        self.sampler = sampler  # MMEngine sets the epoch of this
        self.batch_size = batch_size
        self.per_batch = [times * n for n in ratio]

    def __len__(self) -> int:
        """Batches of an epoch, the same for all ranks."""
        per_step = self.per_batch[UNLABELLED] * self.sampler.world_size
        return -(-self.lengths[UNLABELLED] // per_step)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this rank in this epoch, as indices of the whole data set."""
        labelled = self._labelled_of_rank()
        unlabelled = self._unlabelled_of_rank() + self.lengths[LABELLED]
        yield from np.concatenate([labelled, unlabelled], axis=1).tolist()

    def _unlabelled_of_rank(self) -> np.ndarray:
        """One pass, filled up, (batches, images)."""
        order = self._pass(UNLABELLED, self.sampler.epoch)
        size = len(self) * self.sampler.world_size * self.per_batch[UNLABELLED]
        return self._share(np.resize(order, size), UNLABELLED)

    def _labelled_of_rank(self) -> np.ndarray:
        """The next part of an endless row of passes, (batches, images)."""
        length = self.lengths[LABELLED]
        size = len(self) * self.sampler.world_size * self.per_batch[LABELLED]
        start = self.sampler.epoch * size
        first, last = start // length, (start + size - 1) // length
        passes = [self._pass(LABELLED, number) for number in range(first, last + 1)]
        offset = start - first * length
        row = np.concatenate(passes)[offset : offset + size]
        return self._share(row, LABELLED)

    def _pass(self, source: int, number: int) -> np.ndarray:
        """All images of a source, shuffled."""
        seed = [self.sampler.seed, source, number]
        return np.random.default_rng(seed).permutation(self.lengths[source])

    def _share(self, row: np.ndarray, source: int) -> np.ndarray:
        """What of all ranks' images is this rank's, (batches, images)."""
        shape = (len(self), self.sampler.world_size, self.per_batch[source])
        return row.reshape(shape)[:, self.sampler.rank]
