"""Where the versions of torch and of the mm packages disagree, and what is done.

The only file that knows of it. An entry acts only where the installed versions need it.
"""

import copy
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import mmareaaware_ops

INSTALL_HELP = (
    "mmareaaware brings no mm package of its own, to leave your stack as it is. In a "
    "checkout of it, `pip install '.[openmmlab]'` adds a whole stack to an environment "
    "that has no mmcv, and `tools/setup.sh` makes an environment with one."
)
# Debian without a desktop has no libGL, and of the two OpenCV packages that mmengine
# and albumentations ask for, one needs it.
OPENCV_HELP = (
    "On a machine without a display: pip install --force-reinstall --no-deps "
    "opencv-python-headless"
)


@dataclass(frozen=True)
class Entry:
    """One disagreement.

    Attributes:
        name: Short name.
        versions: Which versions disagree.
        why: What goes wrong without the entry.
        until: When the entry can go.
        is_needed: Whether the installed versions need it.
        apply: Mends it.
    """

    name: str
    versions: str
    why: str
    until: str
    is_needed: Callable[[], bool]
    apply: Callable[[], None]


def activate() -> tuple[Entry, ...]:
    """Check that the mm stack can be used, and apply the entries that it needs.

    Returns:
        The entries that were applied.

    Raises:
        ImportError: A package is missing or unusable; the message names it.
    """
    mmareaaware_ops.install()  # where no .pth file did: a folder on PYTHONPATH
    for name in ("torch", "mmengine", "mmcv", "mmcv.ops", "mmdet"):
        _import(name)
    active = tuple(entry for entry in ENTRIES if entry.is_needed())
    for entry in active:
        entry.apply()
    if has_mmyolo():
        _import("mmyolo")
    return active


def has_mmyolo() -> bool:
    """Whether there is an MMYOLO to build YOLOs on; two-stage detectors need none."""
    return importlib.util.find_spec("mmyolo") is not None


def _import(name: str):
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken build raises anything, OSError among them
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        problem = "is not installed" if missing else f"cannot be used ({error})"
        cure = OPENCV_HELP if "libGL" in str(error) else INSTALL_HELP
        raise ImportError(f"{name} {problem}. {cure}") from error


def _version(package: str) -> tuple[int, ...]:
    """Release numbers of an imported package, (2, 13, 0) for '2.13.0+cpu'."""
    from mmengine.utils import digit_version

    return digit_version(importlib.import_module(package).__version__.split("+")[0])[:3]


def _mmyolo_refuses_mmcv() -> bool:
    if not has_mmyolo():
        return False
    try:
        mmyolo = importlib.metadata.version("mmyolo")
    except importlib.metadata.PackageNotFoundError:
        mmyolo = "0.6.x"  # a clone on the path: the newest that there is
    return mmyolo.startswith("0.6.") and _version("mmcv") >= (2, 1, 0)


def _import_mmyolo_unasserted() -> None:
    """Show mmyolo the newest mmcv version that it accepts, during its import only."""
    import mmcv

    real = mmcv.__version__
    mmcv.__version__ = "2.0.1"
    try:
        importlib.import_module("mmyolo")
    finally:
        mmcv.__version__ = real


def _resume_is_refused() -> bool:
    return _version("torch") >= (2, 6, 0) and _version("mmengine") <= (0, 10, 7)


def _allow_resuming() -> None:
    """Allow what MMEngine's checkpoints hold, and keep the safe default."""
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer

    def history_method(owner: type, name: str) -> Callable:
        """What HistoryBuffer needs of getattr: its own methods, and nothing else."""
        if owner is not HistoryBuffer or name.startswith("_"):
            raise TypeError(f"a checkpoint asks for {name!r} of {owner!r}")
        return getattr(owner, name)

    make_array, *_ = np.empty(0).__reduce__()
    make_scalar, *_ = np.float64(0).__reduce__()
    dtypes = {type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32)}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, make_array, make_scalar, *dtypes]
        + [(history_method, "builtins.getattr")]
    )


def _collate_gets_a_scope() -> bool:
    from mmengine.runner import Runner

    return "_scope_" not in inspect.getsource(Runner.build_dataloader)


def _keep_the_scope_from_collate() -> None:
    """Hand the runners' ``build_dataloader`` a collate function without it."""
    from mmengine.runner import FlexibleRunner, Runner

    def without_scope(build_dataloader: Callable) -> Callable:
        @functools.wraps(build_dataloader)
        def wrapped(dataloader, *args, **kwargs):
            is_config = isinstance(dataloader, dict)
            collate = dataloader.get("collate_fn") if is_config else None
            if isinstance(collate, dict) and "_scope_" in collate:
                dataloader = copy.copy(dataloader)
                dataloader["collate_fn"] = {
                    key: value for key, value in collate.items() if key != "_scope_"
                }
            return build_dataloader(dataloader, *args, **kwargs)

        return staticmethod(wrapped)

    for runner in (Runner, FlexibleRunner):
        runner.build_dataloader = without_scope(runner.build_dataloader)


ENTRIES = (
    Entry(
        name="mmyolo-accepts-mmcv",
        versions="mmyolo 0.6 with mmcv >= 2.1.0",
        why="`import mmyolo` asserts mmcv < 2.1.0; the code works with 2.1 to 2.3",
        until="mmyolo raises its mmcv_maximum_version",
        is_needed=_mmyolo_refuses_mmcv,
        apply=_import_mmyolo_unasserted,
    ),
    Entry(
        name="safe-resume",
        versions="mmengine <= 0.10.7 with torch >= 2.6",
        why="torch.load refuses the HistoryBuffer and NumPy scalars of a checkpoint: "
        "--resume fails",
        until="mmengine's checkpoint loader allows its own types",
        is_needed=_resume_is_refused,
        apply=_allow_resuming,
    ),
    Entry(
        name="collate-without-scope",
        versions="mmengine, all so far",
        why="in a base from another package, `mmyolo::...`, each dict with a type has "
        "a _scope_, which MMYOLO's collate function does not take",
        until="mmengine takes it out, as it does where it builds an object",
        is_needed=_collate_gets_a_scope,
        apply=_keep_the_scope_from_collate,
    ),
)
