"""The categories of a COCO annotation file, without parsing all of it."""

import json
import mmap
from json import JSONDecodeError, JSONDecoder
from pathlib import Path

KEY = b'"categories"'
LONGEST = 2**22  # bytes of such a list; that of LVIS has a tenth


def read_categories(path: str | Path) -> list[dict]:
    """The list ``categories`` of an annotation file, in its order.

    The file of COCO has 450 MB: what is not the list is looked through, not parsed.

    Args:
        path: The file.

    Returns:
        Dicts with ``id`` and ``name``.

    Raises:
        KeyError: There are none.
    """
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        at = m.find(KEY)
        while at >= 0:
            after = at + len(KEY)
            text = m[after : after + LONGEST].decode(errors="ignore")
            try:
                value, _ = JSONDecoder().raw_decode(text.lstrip(" \t\r\n:"))
            except JSONDecodeError:  # the word in another place, or a longer list
                value = None
            if _are_categories(value):
                return value
            at = m.find(KEY, after)
    return json.loads(Path(path).read_bytes())["categories"]


def _are_categories(value) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and entry.keys() >= {"id", "name"} for entry in value
    )
