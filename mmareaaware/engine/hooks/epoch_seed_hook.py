"""Makes a resumed run draw the same augmentations as an uninterrupted one."""

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import set_random_seed


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, NumPy and torch anew at every epoch, from seed, epoch and rank.

    MMEngine seeds once, at the start of a run, so a resumed run repeats the random
    numbers of the first epochs. With this hook, what is drawn in this process depends
    on the number of the epoch alone, and no epoch of one seed is one of another. That
    is all augmentations with ``num_workers=0``; worker processes are seeded by MMEngine
    and are not reached.
    """

    def before_train_epoch(self, runner) -> None:
        """Seed this epoch."""
        drawn = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        set_random_seed(int(drawn.generate_state(1)[0]))
