"""The README and the pages of the documentation, and what is in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def read(name: str) -> str:
    """The text of a page, by its path in the checkout."""
    return (ROOT / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.M | re.S)


def headings(text: str) -> list[tuple[str, int]]:
    """The anchors of a page, as GitHub and the site name them, and where they are."""
    # A comment in a block of code is no heading
    found = re.finditer(r"^```.*?^```|^#+ ([^\n]+)$", text, re.M | re.S)
    return [(anchor(m[1]), m.end()) for m in found if m[1]]


def anchor(heading: str) -> str:
    """The anchor of a heading."""
    plain = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return plain.replace(" ", "-")


def section(text: str, name: str) -> str:
    """What follows a heading, up to the next one."""
    places = headings(text)
    ends = [*(end for _, end in places[1:]), len(text)]
    for (this, start), end in zip(places, ends, strict=True):
        if this == name:
            return text[start:end]
    raise KeyError(name)
