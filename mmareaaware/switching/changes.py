"""What two configs differ in, as a table."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NamedTuple

from rich.table import Table

from ..model_config import type_name

ABSENT = "–"


class Change(NamedTuple):
    """One place of a config that has changed."""

    place: str  # a dotted path
    before: Any  # None where there was nothing
    after: Any


def differences(before: Any, after: Any, place: str = "") -> Iterator[Change]:
    """Where two configs differ, in the order of the second.

    Args:
        before: A config, or a part of one.
        after: The same later.
        place: The dotted path of both.

    Yields:
        The smallest parts that are not the same. A dict that has come or gone is one;
        in a list the others keep their place.
    """
    pairs: Iterator[tuple[Any, Any, Any]]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [*after, *(key for key in before if key not in after)]
        pairs = ((key, before.get(key), after.get(key)) for key in keys)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        pairs = _aligned(before, after)
    else:
        if before != after:
            yield Change(place, before, after)
        return
    for key, old, new in pairs:
        yield from differences(old, new, f"{place}.{key}" if place else str(key))


def changes_table(changes: list[Change]) -> Table:
    """The changes as a table for the console, a row for each."""
    table = Table("place", "was", "is now")
    for change in changes:
        table.add_row(change.place, _shown(change.before), _shown(change.after))
    return table


def _aligned(before: Sequence, after: Sequence) -> Iterator[tuple[int, Any, Any]]:
    """Place in the second list, and what is there in both; None where there is none."""
    names = ([_name(item) for item in items] for items in (before, after))
    for _, *ends in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        old, new = before[ends[0] : ends[1]], after[ends[2] : ends[3]]
        for place, pair in enumerate(zip_longest(old, new), ends[2]):
            yield place, *pair


def _name(item: Any) -> str:
    """What an entry of a list is recognised by: its type, if it has one."""
    is_typed = isinstance(item, Mapping) and "type" in item
    return type_name(item) if is_typed else repr(item)


def _shown(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, Mapping):
        inside = ", ".join(
            f"{key}={_shown(item)}"
            for key, item in value.items()
            if key not in ("type", "_scope_")
        )
        return f"{_shown(value['type'])}({inside})" if "type" in value else inside
    return str(getattr(value, "__name__", value))
