import shutil
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager

from mmareaaware.visualization import fonts_for

DEJAVU = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")


def test_latin_needs_no_other_font():
    families, missing = fonts_for("pedestrian, motor 90% Цапля")
    assert families == matplotlib.rcParams["font.family"]
    assert not missing


@pytest.fixture
def _narrow(monkeypatch):
    """Only fonts without Cyrillic at first."""
    entries = font_manager.fontManager.ttflist
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["cmr10"])
    monkeypatch.setattr(
        font_manager.fontManager,
        "ttflist",
        [e for e in entries if e.name in ("cmr10", "DejaVu Sans")],
    )


@pytest.mark.usefixtures("_narrow")
def test_a_font_with_the_letters_is_found():
    families, missing = fonts_for("cat, Цапля")
    assert families == ["cmr10", "DejaVu Sans"]
    assert not missing


@pytest.mark.usefixtures("_narrow")
def test_a_font_that_was_installed_a_moment_ago(monkeypatch, tmp_path):
    path = shutil.copy(DEJAVU, tmp_path)
    fonts = font_manager.fontManager
    monkeypatch.setattr(
        fonts, "ttflist", [e for e in fonts.ttflist if e.name == "cmr10"]
    )
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    assert fonts_for("Цапля")[1] == set("Цапля")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path])
    families, missing = fonts_for("Цапля")
    assert families == ["cmr10", "DejaVu Sans"]
    assert not missing


def test_letters_that_no_font_has(monkeypatch):
    fonts = font_manager.fontManager
    monkeypatch.setattr(
        fonts,
        "ttflist",
        [e for e in fonts.ttflist if e.name.startswith(("DejaVu", "Last Resort"))],
    )
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    families, missing = fonts_for("cat, 猫")
    assert missing == {"猫"}
    assert not any(name.startswith("Last Resort") for name in families)
