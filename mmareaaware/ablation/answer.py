"""Which settings are better than the baseline, when chance and numbers are counted.

Each setting is trained from the same seeds, so a seed is a block: what it does to all
settings alike is taken out. What is left is the noise; it is pooled over the settings,
since three to five seeds of one alone say little. Intervals are Dunnett's, for all
settings against one baseline at once (C. W. Dunnett, 1955), at 95 % for all goals
together (Bonferroni). Assumed: the noise of all settings is about the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_t

from .grid import Metric
from .paired import CONFIDENCE, compare


@dataclass(frozen=True)
class Effect:
    """A setting against the baseline in one metric; above 0 is better.

    Attributes:
        mean: Over the seeds.
        low: Of the interval that holds for all settings and goals together.
        high: Of it.
        noise: Standard deviation of a single training, pooled over the settings.
    """

    mean: float
    low: float
    high: float
    noise: float

    @property
    def in_noise(self) -> float:
        """The mean in standard deviations of a training."""
        return self.mean / max(self.noise, np.finfo(float).eps)


@dataclass(frozen=True)
class Answer:
    """What a grid says.

    Attributes:
        effects: By metric, then by setting; of goals and guards.
        seeds: That all of the compared settings have.
        left_out: Settings that lack a seed or a number.
        better: Settings that are better in a goal, worse in none, and within the
            guards; the best first.
        too_dear: Those that would be, with the guard that they fail.
    """

    effects: Mapping[Metric, Mapping[str, Effect]]
    seeds: Sequence[int]
    left_out: Sequence[str]
    better: Sequence[str]
    too_dear: Mapping[str, Metric]


def find_answer(
    runs: Sequence[Mapping], metrics: Sequence[Metric], baseline: str
) -> Answer | None:
    """Compare all settings with the baseline.

    Args:
        runs: As for ``compare``.
        metrics: Those with ``goal`` or a ``guard`` count, where the data has them.
        baseline: The setting to compare with.

    Returns:
        The answer; None where there is no goal, no second seed or no other setting.
    """
    cells = {
        metric: compare(runs, metric.key, baseline, metric.scale)
        for metric in metrics
        if metric.goal or metric.guard is not None
    }
    values = {
        metric: {name: cell.sample.values for name, cell in of_metric.items()}
        for metric, of_metric in cells.items()
        if of_metric.get(baseline) and of_metric[baseline].sample.values
    }
    goals = [metric for metric in values if metric.goal]
    if not goals:
        return None
    settings = list(next(iter(values.values())))
    seeds_of = {
        setting: set.intersection(*(set(v[setting]) for v in values.values()))
        for setting in settings
    }
    # The baseline is trained first: it may have a seed that nothing else has yet
    of_others = set().union(*(seeds_of[s] for s in settings if s != baseline))
    seeds = sorted(seeds_of[baseline] & of_others)
    complete = [setting for setting in settings if seeds_of[setting] >= set(seeds)]
    others = [setting for setting in complete if setting != baseline]
    if len(seeds) < 2 or not others:
        return None
    confidence = 1 - (1 - CONFIDENCE) / len(goals)
    effects = {
        metric: _effects(metric, of_metric, [baseline, *others], seeds, confidence)
        for metric, of_metric in values.items()
    }

    def best_in_noise(setting: str) -> float:
        return max(effects[goal][setting].in_noise for goal in goals)

    promising = [
        setting
        for setting in sorted(others, key=best_in_noise, reverse=True)
        if any(effects[goal][setting].low > 0 for goal in goals)
        and not any(effects[goal][setting].high < 0 for goal in goals)
    ]
    too_dear = {
        setting: metric
        for setting in promising
        for metric in effects
        if metric.guard is not None
        if effects[metric][setting].mean < -metric.guard
    }
    return Answer(
        effects,
        seeds,
        [setting for setting in settings if setting not in complete],
        [setting for setting in promising if setting not in too_dear],
        too_dear,
    )


def _effects(
    metric: Metric,
    values: Mapping[str, Mapping[int, float]],
    settings: Sequence[str],
    seeds: Sequence[int],
    confidence: float,
) -> dict[str, Effect]:
    """The effects of all settings but the first."""
    sign = 1 if metric.better == "higher" else -1
    table = sign * np.array(
        [[values[name][seed] for seed in seeds] for name in settings]
    )
    means = table.mean(1)
    residuals = table - means[:, None] - table.mean(0) + table.mean()
    degrees = (len(settings) - 1) * (len(seeds) - 1)
    noise = float(np.sqrt((residuals**2).sum() / degrees))
    width = critical_value(len(settings) - 1, degrees, confidence)
    width *= noise * (2 / len(seeds)) ** 0.5
    return {
        name: Effect(float(diff), float(diff - width), float(diff + width), noise)
        for name, diff in zip(settings[1:], means[1:] - means[0], strict=True)
    }


@cache
def critical_value(number: int, degrees: int, confidence: float) -> float:
    """Dunnett's two-sided critical value.

    Args:
        number: Of settings that are compared with the same baseline, as many runs each.
        degrees: Degrees of freedom of the noise.
        confidence: For all of them together.

    Returns:
        How many standard errors the half of an interval is.
    """
    correlation = (np.eye(number) + 1) / 2  # they share the baseline

    def excess(width: float) -> float:
        ends = np.full(number, width)
        inside = multivariate_t.cdf(
            ends, None, correlation, degrees, lower_limit=-ends, random_state=0
        )
        return float(inside) - confidence

    return float(brentq(excess, 0.1, 1e4, xtol=1e-3))
