"""Starting several processes on a machine without a GPU."""

import torch
from mmengine.config import Config
from torch import distributed


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
    if "use_syncbn" in cfg.model or cfg.model.type.endswith("YOLODetector"):
        cfg.model.use_syncbn = False  # SyncBatchNorm is CUDA only
