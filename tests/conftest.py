"""Shared by all tests: one thread each (they run in parallel), and tiny heads."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
# What torch up to 2.9 asks of who wants GPUs to be deterministic
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import runpy
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

import mmareaaware  # noqa: F401 (registers)

ROOT = Path(__file__).parents[1]
NUM_CLASSES = 5
STRIDES = (8, 16, 32)
SIZE = 128
collect_ignore = ["unformatted"]

# A machine with much to do is slow, and the first use of a GPU takes seconds
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True, scope="session")
def _configs_are_not_formatted():
    """MMEngine's runner has yapf format a config six times, a second or two each."""
    with pytest.MonkeyPatch.context() as patch:
        # For processes that tests start
        patch.setenv("PYTHONPATH", str(ROOT / "tests/unformatted"), os.pathsep)
        patch.setattr(
            "mmengine.config.config.FormatCode", lambda text, **_: (text + "\n", False)
        )
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _float32_on_gpus(monkeypatch):
    """As on a CPU: TF32 has ten bits, and all convolutions would be of it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(autouse=True)
def _only_who_asks_is_deterministic():
    """A Runner with ``deterministic=True`` leaves it on for the tests after it."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.fixture(autouse=True)
def _mmyolo_scope():
    """What ``default_scope = 'mmyolo'`` of a config does, for objects built here."""
    with DefaultScope.overwrite_default_scope("mmyolo"):
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def run_tool(monkeypatch):
    """Runs a tool in this process as Python does: ``run_tool("test.py", ...)``."""

    def run(name: str, *arguments) -> None:
        path = ROOT / "tools" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name="__main__")

    return run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The package, built; without isolation, which would need a network."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: extra `dev`")
    path = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    command += ["--no-build-isolation", "-w", str(path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = path.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def device() -> torch.device:
    """A GPU where there is one: what is computed in float must hold there too."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def on_cpu(monkeypatch) -> None:
    """Trains on the CPU even where there is a GPU, which adds up in any order."""
    for module in (
        "mmengine.runner.runner",
        "mmareaaware.engine.bfloat16_optim_wrapper",
    ):
        monkeypatch.setattr(f"{module}.get_device", lambda: "cpu")


def head_config(head_type: str = "AreaAwareYOLOv8Head", **overrides) -> dict:
    """A narrow YOLOv8 head with the stock losses and assigner."""
    num_classes = overrides.pop("num_classes", NUM_CLASSES)
    cfg = dict(
        type=head_type,
        head_module=dict(
            type="YOLOv8HeadModule",
            num_classes=num_classes,
            in_channels=[16, 32, 64],
            featmap_strides=list(STRIDES),
        ),
        train_cfg=dict(
            assigner=dict(
                type="BatchTaskAlignedAssigner",
                num_classes=num_classes,
                use_ciou=True,
                topk=10,
                alpha=0.5,
                beta=6.0,
                eps=1e-9,
            )
        ),
    )
    cfg.update(overrides)
    return ConfigDict(cfg)


@pytest.fixture
def make_head():
    """Builds a head in training mode, with weights that depend on the seed only."""
    from mmengine.registry import MODELS

    def build(head_type: str = "AreaAwareYOLOv8Head", seed: int = 0, **overrides):
        head = MODELS.build(deepcopy(head_config(head_type, **overrides)))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return head.train()

    return build


def features(num_imgs: int = 2, seed: int = 0, size: int = SIZE) -> list[torch.Tensor]:
    """Feature maps of the three levels."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(num_imgs, c, size // s, size // s, generator=generator)
        for c, s in zip((16, 32, 64), STRIDES, strict=True)
    ]


def ground_truth(boxes_per_image, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    """Random boxes, (G, 6): image, label, x1, y1, x2, y2."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for image, number in enumerate(boxes_per_image):
        centre = torch.rand(number, 2, generator=generator) * size
        side = torch.exp(torch.rand(number, 2, generator=generator) * 3 + 1.5)
        xyxy = torch.cat([centre - side / 2, centre + side / 2], 1).clamp(0, size)
        label = torch.randint(NUM_CLASSES, (number, 1), generator=generator)
        rows.append(torch.cat([torch.full((number, 1), image), label, xyxy], 1))
    return torch.cat(rows) if rows else torch.zeros(0, 6)


def batch(boxes_per_image, seed: int = 0) -> dict:
    """Data samples as the fast mmyolo collate function makes them."""
    return dict(
        bboxes_labels=ground_truth(boxes_per_image, seed),
        img_metas=[dict(batch_input_shape=(SIZE, SIZE))] * len(boxes_per_image),
    )


@pytest.fixture
def free_port() -> int:
    """A TCP port on this machine that nobody listens on."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """A small copy of the demo data."""
    from mmareaaware.datasets import write_digits

    path = tmp_path_factory.mktemp("digits")
    write_digits(path, num_images=dict(train=12, val=6))
    return path


@pytest.fixture
def demo_options(digits) -> dict:
    """What makes a training of seconds out of the demo config."""
    return {
        "train_dataloader.dataset.data_root": f"{digits}/",
        "val_dataloader.dataset.data_root": f"{digits}/",
        "test_dataloader.dataset.data_root": f"{digits}/",
        "val_evaluator.0.ann_file": f"{digits}/annotations/val.json",
        "test_evaluator.0.ann_file": f"{digits}/annotations/val.json",
        "train_dataloader.batch_size": 4,
        "model.backbone.widen_factor": 0.125,
        "model.neck.widen_factor": 0.125,
        "model.bbox_head.head_module.widen_factor": 0.125,
        "model.test_cfg.score_thr": 0.0,
        "train_cfg.val_interval": 100,
        "train_cfg.max_epochs": 2,
        "default_hooks.logger.interval": 1,
        "randomness.deterministic": True,
    }


@pytest.fixture
def two_stage_options(demo_options) -> dict:
    """The same for the demo config of Faster R-CNN."""
    options = {k: v for k, v in demo_options.items() if not k.startswith("model.")}
    return options | {
        "model.backbone.base_channels": 8,
        "model.neck.in_channels": [8, 16, 32, 64],
        "model.test_cfg.rcnn.score_thr": 0.0,
        "custom_hooks.2.interval": 2,
        "custom_hooks.2.burn_in": 0,
    }
