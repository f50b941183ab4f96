"""Does this installation work? ``python -m mmareaaware.check``

Prints versions, stack, GPU, what is registered and which compat entries are active,
and runs one training step of a small detector. Exits with 1 and the reason when
something is wrong.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MMCVS = ("mmcv", "mmcv-lite", "onedl-mmcv")
REGISTRIES = (
    "MODELS",
    "TASK_UTILS",
    "HOOKS",
    "METRICS",
    "OPTIM_WRAPPERS",
    "DATASETS",
    "DATA_SAMPLERS",
    "TRANSFORMS",
    "FUNCTIONS",
)


def main() -> int:
    """Run every check; the exit status."""
    console = Console(soft_wrap=True)
    try:
        import mmareaaware

        for table in (versions(mmareaaware), registered(mmareaaware)):
            console.print(table)
        losses = training_step()
    except Exception as error:  # whatever is wrong is what this command is to report
        reason = escape(f"{type(error).__name__}: {error}")
        console.print(f"[red]FAILED[/red] {reason}")
        return 1
    console.print("one training step of a small detector:", losses)
    console.print("[green]OK[/green] everything works")
    return 0


def versions(package) -> Table:
    """Versions, stack, GPU and active compat entries."""
    from .environment import environment

    table = Table(title="mmareaaware: environment", title_justify="left")
    table.add_column("what")
    table.add_column("value")
    found = {"gpu": "none, training on the CPU"} | environment()
    for name, value in found.items():
        table.add_row("GPU" if name == "gpu" else name, str(value))
    table.add_row("stack", _stack())
    mmcvs = [name for name in MMCVS if _is_installed(name)]
    if len(mmcvs) > 1:
        table.add_row(
            "[red]mmcv[/red]",
            f"{' and '.join(mmcvs)} overwrite each other: pip uninstall "
            f"{' '.join(mmcvs)}, and install one of them",
        )
    for entry in package.active_compat:
        table.add_row(f"mended: {entry.name}", f"{entry.versions}: {entry.why}")
    if not package.active_compat:
        table.add_row("compat", "nothing to mend")
    return table


def registered(package) -> Table:
    """What this package registered with MMEngine."""
    from mmengine import registry

    table = Table(title="registered", title_justify="left")
    table.add_column("registry")
    table.add_column("types")
    for name in REGISTRIES:
        modules = getattr(registry, name).module_dict
        ours = [k for k, v in modules.items() if v.__module__.startswith("mmareaaware")]
        if not ours:
            raise RuntimeError(f"nothing of {package.__name__} is in {name}")
        table.add_row(name, ", ".join(sorted(ours)))
    return table


def training_step() -> dict[str, float]:
    """One optimizer step of YOLOv8-n on random images, its losses.

    Of RetinaNet where there is no MMYOLO.
    """
    import torch
    from mmcv.ops import nms
    from mmengine.optim import OptimWrapper
    from mmengine.registry import MODELS, DefaultScope

    from .compat import has_mmyolo

    torch.manual_seed(0)
    boxes = torch.tensor([[0, 3, 10, 10, 22, 20], [1, 7, 8, 16, 48, 60.0]])
    make = _yolov8 if has_mmyolo() else _retinanet
    scope, cfg, batch = make(torch.randint(255, (2, 3, 64, 64)).byte(), boxes)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg).train()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    # The operator that every validation needs, on the device that will train
    nms(boxes[:, 2:].to(device), boxes[:, 1].to(device), iou_threshold=0.5)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    losses = {
        k: round(v.item(), 4) for k, v in model.train_step(batch, optimizer).items()
    }
    if not all(value < float("inf") for value in losses.values()):
        raise RuntimeError(f"the losses of a training step are not finite: {losses}")
    return losses


def _yolov8(images, boxes):
    from mmengine.hub import get_config

    cfg = get_config("mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py").model
    cfg.bbox_head.update(
        type="AreaAwareYOLOv8Head",
        loss_cls=dict(type="AreaAwareBCELoss", loss_weight=0.5),
        loss_bg=dict(type="BgPenaltyLoss"),
    )
    return "mmyolo", cfg, dict(inputs=images, data_samples=dict(bboxes_labels=boxes))


def _retinanet(images, boxes):
    from mmdet.structures import DetDataSample
    from mmengine.hub import get_config
    from mmengine.structures import InstanceData

    cfg = get_config("mmdet::retinanet/retinanet_r18_fpn_1x_coco.py").model
    cfg.backbone.init_cfg = None
    cfg.bbox_head.type = "AreaAwareRetinaHead"
    samples = []
    for image, label, *box in boxes:
        gt = InstanceData(bboxes=image.new_tensor(box)[None], labels=label[None].long())
        shape = tuple(images.shape[2:])
        samples.append(DetDataSample(gt_instances=gt))
        samples[-1].set_metainfo(dict(img_shape=shape, scale_factor=(1.0, 1.0)))
    return "mmdet", cfg, dict(inputs=list(images), data_samples=samples)


def _stack() -> str:
    """Which of the two families of packages the mm packages are from."""
    return "onedl" if _is_installed("onedl-mmengine") else "openmmlab"


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
