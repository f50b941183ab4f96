"""What numbers depend on besides the code of a config."""

import os
import platform
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from mmengine.utils.dl_utils import collect_env

PACKAGES = ("mmcv", "mmdet", "mmyolo", "mmareaaware")  # mmyolo is optional
# By the name of a note: what else the recipes read of the environment
VARIABLES = dict(
    data_root="DATA_ROOT", percent="PERCENT", optim_wrapper="OPTIM_WRAPPER"
)


def environment() -> dict[str, str | int]:
    """Versions, device, commit and the name of the data, without any path.

    Returns:
        By name: ``python``, ``torch``, the mm packages, of which kind mmcv's
        ``operators`` are, ``cpu`` and ``cores``; ``gpu``, ``data_root``, ``percent``,
        that of the labelled images, ``optim_wrapper`` and ``commit`` where there is
        one.
    """
    found = collect_env()
    result = dict(
        python=found["Python"].split()[0],
        torch=found["PyTorch"],
        mmengine=found["MMEngine"],
    )
    result |= {name: import_module(name).__version__ for name in PACKAGES if _has(name)}
    is_ours = "mmareaaware_ops" in import_module("mmcv._ext").__file__
    result["operators"] = "torch" if is_ours else "compiled"
    gpus = [name for key, name in found.items() if key.startswith("GPU ")]
    if gpus:
        result["gpu"] = ", ".join(gpus)
    result["cpu"] = _cpu()
    result["cores"] = num_cores()
    for name, variable in VARIABLES.items():
        if variable in os.environ:
            result[name] = Path(os.environ[variable]).name
    commit = _commit()
    if commit:
        result["commit"] = commit
    return result


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has(package: str) -> bool:
    return find_spec(package) is not None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of the checkout that this file is in, with "-dirty" where it was changed."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True
        )
    except FileNotFoundError:  # no git
        return None
    return result.stdout.strip() or None
