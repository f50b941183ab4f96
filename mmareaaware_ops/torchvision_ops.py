"""torchvision's operators, where they load."""

import functools
from types import ModuleType


@functools.cache
def torchvision_ops() -> ModuleType | None:
    """``torchvision.ops``; None where it is missing or was built for another torch.

    Looked for once, when the first operator is called.
    """
    try:
        import torchvision
    except Exception:  # a build for another torch raises whatever it runs into
        return None
    return torchvision.ops
