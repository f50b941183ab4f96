"""Fonts for names in any script; where a font has no letter, a box is drawn."""

from matplotlib import font_manager, rcParams

# Covers everything, with a picture of the script in place of the letter
PLACEHOLDER_FONT = "Last Resort"


def fonts_for(text: str) -> tuple[list[str], set[str]]:
    """Font families that have all letters of a text, as far as they are installed.

    Args:
        text: All that is to be drawn.

    Returns:
        Families for ``rcParams['font.family']``, those of now first; and the letters
        that none of them has.
    """
    families = list(rcParams["font.family"])
    missing = {letter for letter in text if letter.isprintable()}
    missing -= _letters(font_manager.findfont(font_manager.FontProperties(families)))
    if missing:
        _add_new_fonts()
    for font in sorted(font_manager.fontManager.ttflist, key=_is_unusual):
        if not missing:
            break
        found = missing & _letters(font.fname)
        if found and not font.name.startswith(PLACEHOLDER_FONT):
            families.append(font.name)
            missing -= found
    return families, missing


def _add_new_fonts() -> None:
    """Those that were installed after matplotlib had made its list."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        try:
            font_manager.fontManager.addfont(path)
        except Exception:  # a broken font raises anything; it is of no use here
            continue


def _is_unusual(font: font_manager.FontEntry) -> tuple:
    return font.style != "normal", font.weight not in (400, "regular", "normal")


def _letters(path: str) -> set[str]:
    try:
        return set(map(chr, font_manager.get_font(path).get_charmap()))
    except Exception:  # as above
        return set()
