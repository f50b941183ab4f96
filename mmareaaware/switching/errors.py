"""Why something is not switched on."""


class SwitchError(ValueError):
    """A config is left as it is; the message says why, and what to do."""
