"""The schedule of the penalty's λ_bg, for a training of any length."""

from collections.abc import Mapping
from fractions import Fraction

# 0 for 3 epochs, then up over 10: while a network finds its first objects, all of it is
# uncertain, and a penalty would teach it to find none.
RISING_LAMBDA_BG = dict(type="LossParamSchedulerHook", burn_in=3, warmup=10)
AT_MOST = Fraction(1, 2)  # of the training; in a longer one the penalty is full earlier


def rising_lambda_bg(param: str, train_cfg: Mapping) -> dict:
    """Config of the hook that raises λ_bg.

    Args:
        param: Its dotted path in the model.
        train_cfg: Of the runner. A training that counts epochs has the schedule of
            ``RISING_LAMBDA_BG``, shortened to the first half of the training where
            that is longer. One that counts iterations does not say what an epoch is:
            it rises in the first half.

    Returns:
        The config.
    """
    hook: dict = dict(RISING_LAMBDA_BG, param=param)
    recipe = hook["burn_in"] + hook["warmup"]
    if "max_iters" in train_cfg:
        share = AT_MOST * train_cfg["max_iters"] / recipe
        hook["by_epoch"] = False
    else:
        share = min(AT_MOST * train_cfg.get("max_epochs", 2 * recipe) / recipe, 1)
    for key in ("burn_in", "warmup"):
        hook[key] = int(share * hook[key])
    return hook
