"""Where a training that was stopped goes on."""

from pathlib import Path

from mmengine.runner import find_latest_checkpoint


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint that MMEngine noted last.

    A process that is killed while it writes that note leaves it empty. The file that it
    was to name is whole by then, and the newest.

    Args:
        work_dir: Of the training.

    Returns:
        Its path; None if there is none.
    """
    noted = find_latest_checkpoint(str(work_dir))
    if noted != "":
        return noted
    saved = [
        path
        for pattern in ("epoch_*.pth", "iter_*.pth")
        for path in Path(work_dir).glob(pattern)
    ]
    return str(max(saved, key=lambda path: path.stat().st_mtime)) if saved else None
