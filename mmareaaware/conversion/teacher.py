"""Teacher and student of a semi-supervised checkpoint, as a plain detector."""


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
