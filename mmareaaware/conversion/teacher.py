"""Teacher and student of a semi-supervised checkpoint, as a plain detector."""

from pathlib import Path

from mmengine.runner.checkpoint import _load_checkpoint


def weights_of(state_dict: dict, network: str) -> dict:
    """The weights of one of the two networks.

    Args:
        state_dict: Of a ``SemiYOLODetector``.
        network: ``'teacher'`` or ``'student'``.

    Returns:
        Its entries, by their names in a plain detector.

    Raises:
        ValueError: There is no such network.
    """
    prefix = f"{network}."
    names = [name for name in state_dict if name.startswith(prefix)]
    if not names:
        raise ValueError(
            f"no entry of the checkpoint begins with {prefix!r}: it is none of a "
            "SemiYOLODetector"
        )
    return {name.removeprefix(prefix): state_dict[name] for name in names}


def load_weights(path: Path) -> dict:
    """The weights in a checkpoint of MMEngine.

    Args:
        path: The file.

    Raises:
        ValueError: It is no checkpoint.
        OSError: It cannot be read.
    """
    try:
        checkpoint = _load_checkpoint(str(path), map_location="cpu")
        return checkpoint["state_dict"]
    except OSError:
        raise
    except Exception as error:  # a broken file raises anything
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is no checkpoint of MMEngine: {type(error).__name__} {reason}"
        ) from error
