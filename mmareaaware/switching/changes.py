"""What two configs differ in, as a table."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.table import Table

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
        The smallest parts that are not the same. A dict that has come or gone is one.
    """
    pairs: Iterator[tuple[Any, Any, Any]]
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = [*after, *(key for key in before if key not in after)]
        pairs = ((key, before.get(key), after.get(key)) for key in keys)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        longest = range(max(len(before), len(after)))
        pairs = ((i, _at(before, i), _at(after, i)) for i in longest)
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


def _at(sequence: list | tuple, index: int) -> Any:
    return sequence[index] if index < len(sequence) else None


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
