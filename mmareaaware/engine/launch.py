"""What tools/train.py and tools/test.py share: options, config, CPU processes."""

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from torch import distributed


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

    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = (
        args.work_dir or cfg.get("work_dir") or f"work_dirs/{Path(args.config).stem}"
    )
    use_gloo_without_gpu(cfg)
    return args, cfg


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
    if cfg.model.type.endswith("YOLODetector"):
        cfg.model.use_syncbn = False  # SyncBatchNorm is CUDA only
