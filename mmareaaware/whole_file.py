"""Files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to a file beside the one that is meant, which it replaces in the end.

    Whenever the program is ended, by Ctrl-C too, what was there before is there still.

    Args:
        path: The file; its folder is made.

    Yields:
        The path to write to, with the same suffix.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.txt")
        >>> with whole_file(path) as partial:
        ...     _ = partial.write_text("all of it")
        >>> path.read_text()
        'all of it'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial_{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """As ``Path.write_text``, all of it or nothing.

    Args:
        path: The file; its folder is made.
        text: Its content.
    """
    with whole_file(path) as partial:
        partial.write_text(text)
