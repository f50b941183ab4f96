"""An area report in numbers, as JSON can hold them."""

import torch
from torch import Tensor

from .area_report import SIZES, AreaReport, Weighting

BINS_PER_OCTAVE = 4


def summarise(report: AreaReport, suggested: Weighting | None) -> dict:
    """Everything that a table or a picture may show.

    Args:
        report: The report.
        suggested: From ``mmareaaware.analysis.suggest``.

    Returns:
        ``images`` (their number), ``inputs`` (sizes in px), ``boxes_per_image``,
        ``cut_off`` (share of the boxes at the edge of the input), ``strides``,
        ``sizes`` (by name of the size and for all), ``histogram`` (by side in px),
        ``classes``, ``assumption``, ``loss_shares`` (of small, medium and large),
        ``area_weights`` (the same with each area weight of the model, and its curve:
        φ at the centre of each bin, where the level matters for each stride),
        ``suggested``.
    """
    data = report.data
    sides = data.areas.sqrt()
    edges = _bin_edges(sides)
    centres = (edges[:-1] * edges[1:]).sqrt()
    # The first bin has all smaller boxes too
    bins = torch.bucketize(sides, edges[1:-1], right=True)
    inputs, images = data.input_sizes.unique(dim=0, return_counts=True)
    per_class = data.labels.bincount(minlength=len(data.classes)).tolist()
    everything = torch.ones_like(data.is_cut)
    return dict(
        images=len(data.input_sizes),
        inputs=[
            dict(height=h, width=w, images=n)
            for (h, w), n in zip(inputs.tolist(), images.tolist(), strict=True)
        ],
        boxes_per_image=data.image.bincount(minlength=len(data.input_sizes)).tolist(),
        cut_off=_mean(data.is_cut),
        strides=report.strides.tolist(),
        sizes={name: _group(report, report.size == i) for i, name in enumerate(SIZES)}
        | dict(all=_group(report, everything)),
        histogram=dict(
            edges=edges.tolist(),
            centres=centres.tolist(),
            bins=[_group(report, bins == b) for b in range(len(edges) - 1)],
        ),
        classes=[
            dict(
                name=data.classes[label] if label < len(data.classes) else str(label),
                boxes=number,
                median_side=sides[data.labels == label].median().item()
                if number
                else None,
            )
            for label, number in enumerate(per_class)
        ],
        assumption=report.assumption,
        loss_shares=report.shares(report.targets),
        area_weights=[_weighting(report, w, centres) for w in report.weightings],
        suggested=suggested and _weighting(report, suggested, centres),
    )


def _group(report: AreaReport, group: Tensor) -> dict:
    """Of the boxes where a mask (G,) is set; means of none are 0."""
    return dict(
        boxes=int(group.sum()),
        cut_off=int(report.data.is_cut[group].sum()),
        share=_mean(group),
        priors=[_mean(level) for level in report.priors[group].T],
        without_prior=_mean(report.candidates[group] == 0),
    )


def _weighting(report: AreaReport, weighting: Weighting, sides: Tensor) -> dict:
    curve = weighting.curve(sides)
    return dict(
        module=weighting.module,
        area_weight=repr(weighting.area_weight),
        normalize=weighting.normalize,
        strength=weighting.strength,
        curve=None if curve is None else curve.tolist(),
        loss_shares=report.loss_shares(weighting),
        loss_factor=report.loss_factor(weighting),
        unknown=weighting.unknown,
    )


def _bin_edges(sides: Tensor) -> Tensor:
    """Edges of bins of a quarter octave, over whole octaves, from 1 px on."""
    octaves = sides.clamp(min=1).log2()
    first, last = octaves.min().floor().int(), octaves.max().floor().int() + 1
    steps = torch.arange(first * BINS_PER_OCTAVE, last * BINS_PER_OCTAVE + 1)
    return 2.0 ** (steps / BINS_PER_OCTAVE)


def _mean(values: Tensor) -> float:
    return values.float().mean().item() if len(values) else 0.0
