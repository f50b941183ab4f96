import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from mmareaaware.visualization import draw_box, show_image


@pytest.fixture
def axis():
    axis = Figure().add_subplot()
    show_image(axis, np.zeros((100, 200, 3), np.uint8))
    return axis


def test_pixels_begin_at_whole_numbers(axis):
    assert axis.get_xlim() == (0, 200)
    assert axis.get_ylim() == (100, 0)
    assert not axis.axison


def test_box(axis):
    draw_box(axis, (20, 30, 50, 70), "red", linestyle="--", linewidth=3)
    (patch,) = axis.patches
    assert patch.get_bbox().extents.tolist() == [20, 30, 50, 70]
    assert patch.get_edgecolor() == to_rgba("red")
    assert (patch.get_linestyle(), patch.get_linewidth()) == ("--", 3)
    assert not patch.get_fill()
    assert not axis.texts


@pytest.mark.parametrize(
    ("box", "at", "alignment"),
    [
        ((20, 30, 50, 70), (20, 30), ("left", "bottom")),
        ((20, 2, 50, 70), (20, 70), ("left", "top")),
        ((170, 30, 190, 70), (190, 30), ("right", "bottom")),
        ((20, 1, 50, 99), (20, 1), ("left", "top")),
    ],
    ids=[
        "above",
        "below at the top of the image",
        "to the left at its right",
        "inside where it is as high as the image",
    ],
)
def test_labels_stay_in_the_image(axis, box, at, alignment):
    draw_box(axis, box, "red", "car")
    (text,) = axis.texts
    assert text.get_text() == "car"
    assert text.xy == at
    assert (
        text.get_horizontalalignment(),
        text.get_verticalalignment(),
    ) == alignment


@pytest.mark.parametrize("height", [30, 1000])
def test_labels_stay_off_what_is_above_and_below(height):
    """Whatever the shape of the image: titles and legends are there."""
    figure = Figure(figsize=(6, 4))
    axis = figure.add_subplot()
    show_image(axis, np.zeros((height, 1000, 3), np.uint8))
    for y1 in np.linspace(0, height - 2, 12):
        for y2 in np.linspace(y1 + 1, height, 12):
            draw_box(axis, (100, y1, 200, y2), "red", "car")
    figure.canvas.draw()
    low, high = axis.bbox.y0, axis.bbox.y1
    for text in axis.texts:
        box = text.get_window_extent()
        assert low - 1 <= box.y0
        assert box.y1 <= high + 1
