"""Reads a checkpoint of MMEngine."""

from pathlib import Path

from mmengine.runner.checkpoint import _load_checkpoint


def read_checkpoint(path: Path) -> dict:
    """What is in a checkpoint of MMEngine.

    Args:
        path: The file.

    Returns:
        At least ``state_dict``.

    Raises:
        ValueError: It is no checkpoint.
        OSError: It cannot be read.
    """
    try:
        checkpoint = _load_checkpoint(str(path), map_location="cpu")
        checkpoint["state_dict"]
    except OSError:
        raise
    except Exception as error:  # a broken file raises anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is no checkpoint of MMEngine: {type(error).__name__} {reason}"
        ) from error
    return checkpoint
