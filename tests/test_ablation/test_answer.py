"""The answer on records whose truth is known."""

import re

import numpy as np
import pytest
from mmengine.config import Config
from scipy import stats

from mmareaaware.ablation import Grid, Metric, find_answer, write_report
from mmareaaware.ablation.answer import critical_value
from mmareaaware.ablation.wording import answer_in_words
from tests.pages import read

from .conftest import write_run

GOAL = Metric("coco/bbox_mAP_s", "AP small", scale=100, goal=True)
QUIET = Metric("fp", "FP", better="lower", goal=True)
GUARD = Metric("coco/bbox_mAP", "AP", scale=100, guard=0.5)
METRICS = [GOAL, QUIET, GUARD]
SETTINGS = ("baseline", "a", "b", "c", "d", "e")
SD = dict(zip((m.key for m in METRICS), (0.004, 0.3, 0.002), strict=True))


def records(draw: int, seeds: int, **effects: dict[str, float]) -> list[dict]:
    """Runs with noise of seeds and of trainings; effects in units of the latter."""
    generator = np.random.default_rng(draw)
    runs = []
    for seed in range(seeds):
        of_seed = {key: generator.normal(0.3, 3 * sd) for key, sd in SD.items()}
        for setting in SETTINGS:
            shift = effects.get(setting, {})
            metrics = {
                key: of_seed[key] + sd * (generator.normal() + shift.get(key, 0))
                for key, sd in SD.items()
            }
            runs.append(dict(setting=setting, seed=seed, metrics=metrics))
    return runs


def answers(seeds: int, **effects):
    draws = (records(draw, seeds, **effects) for draw in range(100))
    return [find_answer(runs, METRICS, "baseline") for runs in draws]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_it_says_keep_stock(seeds):
    assert sum(not answer.better for answer in answers(seeds)) >= 95


def times_found(seeds, deviations, key, sign) -> int:
    effects = {key: sign * deviations}
    return sum(answer.better[:1] == ["c"] for answer in answers(seeds, c=effects))


@pytest.mark.parametrize(("seeds", "deviations"), [(3, 5), (4, 4), (6, 3)])
@pytest.mark.parametrize(("key", "sign"), [(GOAL.key, 1), (QUIET.key, -1)])
def test_an_effect_is_found(seeds, deviations, key, sign):
    assert times_found(seeds, deviations, key, sign) >= 95


def test_what_the_docs_say_of_the_number_of_seeds():
    text = " ".join(read("docs/ablation.md").split())
    told = re.search(
        r"three standard deviations of a training, two seeds find it in (\d+) % of the "
        r"cases, three in (\d+) %, five in (\d+) %",
        text,
    )
    for seeds, percent in zip((2, 3, 5), told.groups(), strict=True):
        for key, sign in ((GOAL.key, 1), (QUIET.key, -1)):
            found = times_found(seeds, 3, key, sign)
            assert found == pytest.approx(int(percent), abs=5)


def test_what_costs_more_than_the_guard_is_not_taken():
    for answer in answers(5, c={GOAL.key: 6, GUARD.key: -6}):
        assert "c" not in answer.better
        assert answer.too_dear["c"] == GUARD
    text = "\n".join(answer_in_words(answer, "baseline"))
    assert "**Keep stock**" in text
    assert "- `c` costs 1." in text
    assert "\n\nBetter: by an interval" in text


def test_what_may_cost_more_than_the_guard_is_said():
    for answer in answers(3, c={GOAL.key: 12}):
        text = "\n".join(answer_in_words(answer, "baseline"))
        low = answer.effects[GUARD]["c"].low
        assert ("`c` may cost up to" in text) == ("c" in answer.better and low < -0.5)
        if "c" in answer.better and low < -0.5:
            assert (
                f"`c` may cost up to {-low:.2f} AP, more than the guard of 0.5" in text
            )


def test_what_is_worse_in_the_other_goal_is_not_taken():
    for answer in answers(5, c={GOAL.key: 8, QUIET.key: 8}):
        assert "c" not in answer.better


def test_the_best_comes_first():
    effects = dict(b={GOAL.key: 6}, d={QUIET.key: -12})
    assert sum(a.better == ["d", "b"] for a in answers(5, **effects)) >= 95


def test_one_setting_is_a_t_test_of_pairs():
    """With two settings the noise is that of the differences."""
    runs = [r for r in records(0, 5) if r["setting"] in ("baseline", "a")]
    values = {
        name: [r["metrics"][GOAL.key] * 100 for r in runs if r["setting"] == name]
        for name in ("baseline", "a")
    }
    expected = stats.ttest_rel(values["a"], values["baseline"])
    effect = find_answer(runs, [GOAL], "baseline").effects[GOAL]["a"]
    low, high = expected.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((low, high), rel=1e-2)


@pytest.mark.parametrize(  # C. W. Dunnett, Biometrics 20 (1964), two-sided, 5 %
    ("number", "degrees", "expected"),
    [(1, 10, 2.23), (2, 10, 2.57), (3, 20, 2.54), (5, 20, 2.73)],
)
def test_critical_values_of_the_published_table(number, degrees, expected):
    assert critical_value(number, degrees, 0.95) == pytest.approx(expected, abs=0.012)


def test_equal_runs_are_no_effect_and_no_error():
    runs = [
        dict(setting=s, seed=k, metrics={GOAL.key: 0.1, QUIET.key: 1.0})
        for s in ("baseline", "a")
        for k in (0, 1)
    ]
    answer = find_answer(runs, METRICS, "baseline")
    assert answer.better == []
    assert list(answer.effects) == [GOAL, QUIET]  # there is no AP


def test_a_setting_that_lacks_a_seed_is_left_out_and_named():
    runs = records(0, 3, c={GOAL.key: 50})
    runs.remove(next(r for r in runs if (r["setting"], r["seed"]) == ("c", 2)))
    answer = find_answer(runs, METRICS, "baseline")
    assert (answer.better, answer.left_out) == ([], ["c"])
    assert "a number is missing: `c`" in answer_in_words(answer, "baseline")[-1]


def test_a_seed_that_only_the_baseline_has_does_not_count_yet():
    runs = records(0, 3, b={GOAL.key: 50})
    more = [r for r in records(1, 4) if (r["setting"], r["seed"]) == ("baseline", 3)]
    answer = find_answer([*runs, *more], METRICS, "baseline")
    assert len(more) == 1
    assert answer == find_answer(runs, METRICS, "baseline")
    assert (answer.better, answer.seeds) == (["b"], [0, 1, 2])


@pytest.mark.parametrize(
    ("runs", "metrics"),
    [(records(0, 1), METRICS), (records(0, 3), [GUARD]), (records(0, 3)[::6], METRICS)],
    ids=["one seed", "no goal", "baseline only"],
)
def test_there_may_be_no_answer_yet(runs, metrics):
    assert find_answer(runs, metrics, "baseline") is None
    assert "No answer yet" in answer_in_words(None, "baseline")[0]


def test_it_writes_the_answer_and_the_config(grid_file, tmp_path):
    text = grid_file.read_text().replace("scale=100)", "scale=100, goal=True)")
    grid_file.write_text(text)
    grid = Grid(grid_file)
    out = tmp_path / "out"
    for seed in (0, 1):
        for setting, gain in dict(baseline=0.0, power=0.2, other=0.0).items():
            ap = 0.3 + gain + 0.001 * seed * (setting == "other")
            write_run(out, setting, seed, {"coco/bbox_mAP": ap, "background/fp": 2.0})
    write_report(grid, out)
    assert "**Take `power`**" in (out / "answer.md").read_text()
    best = Config.fromfile(out / "best.py")
    expected = grid.load("power", 0)
    expected.randomness.pop("seed")
    best.randomness.pop("seed")
    assert best.to_dict() == expected.to_dict()
    for seed in (0, 1):
        write_run(out, "power", seed, {"coco/bbox_mAP": 0.3, "background/fp": 2.0})
    write_report(grid, out)
    assert "**Keep stock**" in (out / "answer.md").read_text()
    assert not (out / "best.py").exists()


def test_the_noise_stands_above_every_table(grid_file, tmp_path):
    grid = Grid(grid_file)
    for seed in (0, 1):
        for setting in ("baseline", "power"):
            ap = 0.3 + 0.02 * seed
            write_run(tmp_path, setting, seed, {"coco/bbox_mAP": ap})
    write_report(grid, tmp_path)
    text = (tmp_path / "table.md").read_text()
    # sd of 30 and 32 is √2, that of a difference of two such runs 2
    assert text.count("AP 2.00 (at most 2.00)") == text.count("| setting |") == 2


def test_more_goals_make_wider_intervals():
    """Bonferroni's: each of two at 97.5 %."""
    one, two = (
        find_answer(records(0, 3), goals, "baseline").effects[GOAL]["a"]
        for goals in ([GOAL], [GOAL, QUIET])
    )
    expected = critical_value(5, 10, 0.975) / critical_value(5, 10, 0.95)
    assert expected > 1.1
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(expected)
