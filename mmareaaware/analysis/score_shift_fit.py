"""The shift of scores by size that makes a score mean the same at all sizes."""

from typing import NamedTuple

import numpy as np

from .matched_detections import Detections, mean_average_precision

FOLDS = 10
STRENGTHS = (0.25, 0.5, 0.75, 1.0)  # of the shift that calibrates
QUANTILES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
RIDGE = 1.0  # on each shift: as much as about four uncertain detections say
FREE = 0.01  # on the rest
MIN_AREA = 1e-3  # px²
MAX_STEPS = 50


class ScoreShiftError(Exception):
    """A shift cannot be fitted; the message says why."""


class Result(NamedTuple):
    """What a shift of some strength does to images that it was not fitted on."""

    strength: float
    ap: float  # in [0, 1]
    ap_small: float


class FittedShift(NamedTuple):
    """Shifts at K sides, and what they were chosen by."""

    sides: np.ndarray  # (K,)
    shifts: np.ndarray  # (K,), all 0 where the gain is not more than its error
    boxes: np.ndarray  # (K,), true detections at IoU 0.5 by the nearest side
    results: list[Result]  # at strength 0, and at each of STRENGTHS
    best: Result  # the highest AP with a shift
    error: float  # standard error of what that AP is more than without a shift

    @property
    def gain(self) -> float:
        """Of AP, at the best strength."""
        return self.best.ap - self.results[0].ap


def fit_score_shift(
    found: Detections, sides: np.ndarray, min_boxes: int = 1, seed: int = 0
) -> FittedShift:
    """Fit shifts, and keep them if images that they were not fitted on gain.

    The images are parted into ``FOLDS``; each fold is shifted as the others say. Of
    ``STRENGTHS`` the one counts whose AP is highest on all folds together. Its standard
    error is that of the jackknife over the folds. Detections stay matched as they are.

    Args:
        found: Detections with scores that are not shifted.
        sides: Roots of areas in px of the network input, increasing, (K,).
        min_boxes: See `mean_average_precision`.
        seed: Of the folds.

    Returns:
        The shifts, of all images.

    Raises:
        ScoreShiftError: There are fewer images with boxes than folds, or no detection
            is true.
    """
    images = np.unique(found.box_image)
    if len(images) < FOLDS or not found.is_true.any():
        raise ScoreShiftError(
            f"{len(images)} images with boxes and {found.is_true.any(1).sum()} true "
            f"detections: a fit needs {FOLDS} images and one true detection at least; "
            "are checkpoint and data of the same classes?"
        )
    every = np.unique(np.concatenate([images, found.image]))
    fold_of = np.random.default_rng(seed).permutation(len(every)) % FOLDS
    folds = [every[fold_of == fold] for fold in range(FOLDS)]
    held_out = np.zeros(len(found.score))
    for fold in folds:
        shifts = calibrate(found.of_images(np.setdiff1d(every, fold)), sides)
        rows = np.isin(found.image, fold)
        held_out[rows] = shift_of(found.area[rows], sides, shifts)

    def result(strength: float) -> Result:
        rank = found.logit + strength * held_out
        of_all = mean_average_precision(found, rank, False, min_boxes)
        return Result(
            strength, of_all, mean_average_precision(found, rank, True, min_boxes)
        )

    results = [result(strength) for strength in (0.0, *STRENGTHS)]
    best = max(results[1:], key=lambda result: result.ap)
    error = _jackknife(found, best.strength * held_out, folds, min_boxes)
    is_kept = best.ap - results[0].ap > error
    nearest = _hats(found.area, sides)[found.is_true[:, 0]].argmax(1)
    return FittedShift(
        sides,
        is_kept * best.strength * calibrate(found, sides),
        np.bincount(nearest, minlength=len(sides)),
        results,
        best,
        error,
    )


def shift_of(areas: np.ndarray, sides: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The shifts (D,) of areas in px² (D,), as ``SizeScoreShift`` has them."""
    return _hats(areas, sides) @ shifts


def calibrate(found: Detections, sides: np.ndarray) -> np.ndarray:
    r"""The shifts (K,) with which precision depends on the score and not on the size.

    A logistic regression of being true, the mean over the IoUs, for a detection of
    class c with the logit z: $\sigma(b_c + g(z) + v(A))$, where g is linear
    between ``QUANTILES`` of the logits that are true at IoU 0.5, and v between the
    sides. The detections below the first quantile, nearly all false, have no say. The
    shift is v divided by the mean slope of g, less its mean over the true detections,
    so that scores stay what they are on average.

    Args:
        found: The detections, at least one of them true.
        sides: As for `fit_score_shift`.
    """
    logits = found.logit
    # Scores that are all the same have one quantile.
    knots = np.unique(np.quantile(logits[found.is_true[:, 0]], QUANTILES))
    rows = logits >= knots[0]
    truth = found.is_true[rows].mean(1)
    hats = _hats(found.area[rows], sides)
    of_class = np.eye(found.label.max() + 1)[found.label[rows]]
    of_score = _interpolation(logits[rows], knots)[:, 1:]  # b_c has the first
    parts = of_class, of_score, hats
    widths = [part.shape[1] for part in parts]
    ridge = np.repeat([FREE, FREE, RIDGE], widths)
    values = _logistic_regression(np.hstack(parts), truth, ridge)
    _, heights, shifts = np.split(values, np.cumsum(widths)[:-1])
    if len(heights) == 0 or heights[-1] <= 0:
        return np.zeros(len(sides))  # the score says nothing, no shift makes it
    shifts = shifts / (heights[-1] / (knots[-1] - knots[0]))
    return shifts - np.average(shifts, weights=truth @ hats)


def _logistic_regression(
    inputs: np.ndarray, truth: np.ndarray, ridge: np.ndarray
) -> np.ndarray:
    """Coefficients (P,) for inputs (D, P), by Newton's method with shorter steps."""

    def loss(values: np.ndarray) -> float:
        logits = inputs @ values
        likely = np.logaddexp(0, logits) - truth * logits
        return likely.sum() + ridge @ values**2 / 2

    values = np.zeros(inputs.shape[1])
    last = loss(values)
    for _ in range(MAX_STEPS):
        chance = 0.5 + np.tanh(inputs @ values / 2) / 2
        slope = inputs.T @ (chance - truth) + ridge * values
        bend = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        while (now := loss(values - step)) > last and np.abs(step).max() > 1e-6:
            step = step / 2
        values = values - step
        if last - now < 1e-6:
            break
        last = now
    return values


def _hats(areas: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """How much each side (K,) has to say for areas (D,), (D, K); rows sum up to 1."""
    sizes = np.log2(np.maximum(areas, MIN_AREA)) / 2
    return _interpolation(sizes, np.log2(sides))


def _interpolation(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """The weights (D, K) of knots (K,) in a linear interpolation at values (D,)."""
    return np.stack([np.interp(values, knots, hat) for hat in np.eye(len(knots))], 1)


def _jackknife(
    found: Detections, shifts: np.ndarray, folds: list[np.ndarray], min_boxes: int
) -> float:
    """Standard error of what shifts (D,) add to the AP, by leaving out each fold."""
    gains = []
    for fold in folds:
        others = np.concatenate([other for other in folds if other is not fold])
        rest = found.of_images(others)
        moved = rest.logit + shifts[np.isin(found.image, others)]
        before, after = (
            mean_average_precision(rest, rank, False, min_boxes)
            for rank in (rest.logit, moved)
        )
        gains.append(after - before)
    return float(np.sqrt((len(gains) - 1) * np.var(gains)))
