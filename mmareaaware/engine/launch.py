"""What tools/train.py and tools/test.py share: options, config, CPU processes."""

import argparse
import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import distributed

from ..config_file import ConfigFileError, read_config
from ..model_config import type_name


def parse_args(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Config]:
    """Add the options that training and testing share, parse, and load the config.

    Args:
        parser: Has the options of one tool; gets the shared ones.

    Returns:
        The parsed options, and the config with ``--cfg-options``, ``--work-dir`` and
        ``--launcher`` in it, ready for several processes on CPUs.
    """
    parser.add_argument("--work-dir", help="folder for logs, models and metrics")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="override settings of the config, key=value; lists as key=[a,b]",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))

    cfg = config_or_exit(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = (
        args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    )
    use_gloo_without_gpu(cfg)
    leave_out_tensorboard(cfg)
    return args, cfg


def config_or_exit(path: str | Path, options: Mapping | None = None) -> Config:
    """As ``read_config``, for tools: a problem ends the program with a line."""
    try:
        return read_config(path, options)
    except ConfigFileError as error:
        raise SystemExit(f"error: {error}") from None


def build_runner(cfg: Config) -> Runner:
    """The runner that a config asks for, ``runner_type``, else MMEngine's usual one."""
    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


def leave_out_tensorboard(cfg: Config) -> None:
    """Where TensorBoard is not installed, run without it, and say so.

    Args:
        cfg: The config; changed in place.
    """
    visualizer = cfg.get("visualizer") or {}
    backends = visualizer.get("vis_backends") or []
    kept = [b for b in backends if type_name(b) != "TensorboardVisBackend"]
    if len(kept) == len(backends) or importlib.util.find_spec("tensorboard"):
        return
    warnings.warn(
        "tensorboard is not installed: this run writes no TensorBoard log, the JSON "
        "log has all numbers. To have it: pip install tensorboard",
        stacklevel=2,
    )
    visualizer["vis_backends"] = kept or [dict(type="LocalVisBackend")]


def use_gloo_without_gpu(cfg: Config) -> None:
    """Prepare a distributed run on CPUs; with a GPU, or one process, do nothing.

    MMEngine's ``pytorch`` launcher asks CUDA for a device. When the process group is
    there already it leaves that out, so it is made here, with gloo.

    Args:
        cfg: The config, with ``launcher`` set; changed in place.
    """
    if cfg.launcher != "pytorch" or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    cfg.model_wrapper_cfg = dict(
        dict(  # MMEngine's own defaults, which it drops when there is a wrapper config
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
        | (cfg.get("model_wrapper_cfg") or {}),
        device_ids=None,
    )
    detector = cfg.model.get("detector", cfg.model)  # of a semi-supervised one
    if type_name(detector).rpartition(".")[2] == "YOLODetector":
        detector.use_syncbn = False  # SyncBatchNorm is CUDA only
