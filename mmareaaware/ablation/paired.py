"""Settings against a baseline, seed by seed."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """A few numbers, and what they say about their mean.

    Args:
        values: From seed to value.
    """

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Their mean, nan when there are none."""
        return float(np.mean(self._array)) if self.values else float("nan")

    @property
    def sd(self) -> float:
        """Standard deviation with n − 1, nan below two values."""
        if len(self.values) < 2:
            return float("nan")
        return float(np.std(self._array, ddof=1))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean by Student's t, nan below two."""
        if len(self.values) < 2:
            return float("nan"), float("nan")
        with warnings.catch_warnings():
            # Of equal values the interval is a point, rightly.
            warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
            result = stats.ttest_1samp(self._array, 0.0)
        low, high = result.confidence_interval(CONFIDENCE)
        return float(low), float(high)

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside the confidence interval."""
        low, high = self.interval
        return low > 0 or high < 0  # not if they are nan

    def __sub__(self, other: "Sample") -> "Sample":
        """Differences at the seeds that both have."""
        both = self.values.keys() & other.values.keys()
        return Sample({s: self.values[s] - other.values[s] for s in sorted(both)})

    @property
    def _array(self) -> np.ndarray:
        return np.array(list(self.values.values()))


@dataclass(frozen=True)
class Cell:
    """A metric of a setting."""

    sample: Sample
    difference: Sample  # to the baseline; empty for the baseline itself


def compare(
    runs: Sequence[Mapping], key: str, baseline: str, scale: float = 1.0
) -> dict[str, Cell]:
    """Compare the settings in one metric.

    Args:
        runs: Each with ``setting``, ``seed`` and ``metrics``, in which None, like a
            missing one, means that there is no such thing in the data.
        key: Name of the metric.
        baseline: The setting to compare with.
        scale: Factor on all values.

    Returns:
        A cell for each setting that occurs, in the order of the runs.
    """
    values = {}
    for run in runs:
        of_setting = values.setdefault(run["setting"], {})
        value = run["metrics"].get(key)
        if value is not None:
            of_setting[run["seed"]] = scale * value
    samples = {setting: Sample(of_setting) for setting, of_setting in values.items()}
    reference = samples.get(baseline, Sample({}))
    return {
        setting: Cell(sample, Sample({}) if setting == baseline else sample - reference)
        for setting, sample in samples.items()
    }
