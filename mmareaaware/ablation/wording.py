"""An answer in words."""

from collections.abc import Mapping, Sequence

from .answer import Answer, Effect
from .grid import Metric
from .paired import CONFIDENCE, Cell

BEST = "best.py"


def answer_in_words(answer: Answer | None, baseline: str) -> list[str]:
    """Lines of Markdown, of which the first is the answer.

    Args:
        answer: From ``find_answer``.
        baseline: What the settings were compared with.
    """
    if answer is None:
        return [
            "**No answer yet**: it takes a metric that is a goal, another setting than "
            f"`{baseline}`, and two seeds of each."
        ]
    goals = [metric for metric in answer.effects if metric.goal]
    guards = [metric for metric in answer.effects if metric.guard is not None]
    number = len(answer.effects[goals[0]])
    lines = []
    if answer.better:
        best = answer.better[0]
        lines += [f"**Take `{best}`**: the config is `{BEST}`.", ""]
        lines += [
            f"- `{setting}`: {_of_all(answer, setting)}" for setting in answer.better
        ]
    else:
        names = " or ".join(metric.name for metric in goals)
        lines += [f"**Keep stock**: no setting is better in {names}."]
    lines += ["", *_costs(answer, guards)]
    allowed = ", ".join(f"{metric.guard:g} {metric.name}" for metric in guards)
    smallest = ", ".join(f"{_smallest(answer, m)} {m.name}" for m in goals)
    lines += [
        f"Better: by an interval on the better side of 0. All {number * len(goals)} "
        f"intervals ({number} settings × {len(goals)} goals, seeds "
        f"{', '.join(map(str, answer.seeds))}) hold together with {CONFIDENCE:.0%} "
        f"confidence (Dunnett, the noise pooled). Seen is what is more than "
        f"{smallest}; less takes more seeds."
        + (f" A setting may cost {allowed} on average." if allowed else "")
    ]
    if answer.left_out:
        names = ", ".join(f"`{name}`" for name in answer.left_out)
        lines += ["", f"Not compared, since a seed or a number is missing: {names}."]
    return lines


def _costs(answer: Answer, guards: Sequence[Metric]) -> list[str]:
    """A list of what costs more than a guard, and what may."""
    items = [
        f"- `{setting}` costs {-answer.effects[metric][setting].mean:.2f} "
        f"{metric.name}, more than the guard of {metric.guard:g}, for: "
        f"{_of_all(answer, setting)}"
        for setting, metric in answer.too_dear.items()
    ]
    items += [
        f"- `{setting}` may cost up to {-low:.2f} {metric.name}, more than the guard "
        f"of {metric.guard:g}: more seeds tell"
        for setting in answer.better
        for metric in guards
        if (low := answer.effects[metric][setting].low) < -metric.guard
    ]
    return [*items, ""] if items else []


def noise_in_words(table: Mapping[Metric, Mapping[str, Cell]], baseline: str) -> str:
    """What chance does: how far two trainings of the baseline are apart.

    Args:
        table: The cells of all metrics and settings.
        baseline: The setting.
    """
    samples = {
        m: cells[baseline].sample for m, cells in table.items() if baseline in cells
    }
    several = {m: sample for m, sample in samples.items() if len(sample.values) > 1}
    if not several:
        return (
            f"Noise: not known, it takes two seeds of `{baseline}`. Until then a "
            "difference means nothing."
        )
    shown = ", ".join(
        f"{metric.name} {2**0.5 * sample.sd:.2f} "
        f"(at most {max(sample.values.values()) - min(sample.values.values()):.2f})"
        for metric, sample in several.items()
    )
    return (
        f"Noise: two trainings of `{baseline}` from two seeds differ by (standard "
        f"deviation of the difference): {shown}."
    )


def _of_all(answer: Answer, setting: str) -> str:
    return ", ".join(
        f"{metric.name} {_interval(metric, effects[setting])}"
        for metric, effects in answer.effects.items()
    )


def _interval(metric: Metric, effect: Effect) -> str:
    """As the metric counts: what is better may be less."""
    sign = 1 if metric.better == "higher" else -1
    low, high = sorted((sign * effect.low, sign * effect.high))
    return f"{sign * effect.mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def _smallest(answer: Answer, metric: Metric) -> str:
    """Half of an interval; all are as wide."""
    effect = next(iter(answer.effects[metric].values()))
    return f"{effect.mean - effect.low:.2f}"
