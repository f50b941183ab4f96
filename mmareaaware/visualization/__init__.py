"""Boxes, matches and pseudo-labels as pictures."""

from .boxes import COLOURS, draw_box, show_image
from .fonts import fonts_for
from .matched_images import (
    CORRECT,
    FALSE_ALARM,
    IGNORED_BOX,
    MISSED,
    Matched,
    MatchedImages,
    add_legend,
    draw_detections,
    draw_missed,
)

__all__ = [
    "COLOURS",
    "CORRECT",
    "FALSE_ALARM",
    "IGNORED_BOX",
    "MISSED",
    "Matched",
    "MatchedImages",
    "add_legend",
    "draw_box",
    "draw_detections",
    "draw_missed",
    "fonts_for",
    "show_image",
]
