"""torchvision's operators are used where they load and compute the same.

A stand-in records what it is asked: no build of torchvision fits every torch. Where one
does load, it is itself compared.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.ops import deform_conv2d, modulated_deform_conv2d, roi_align

import mmareaaware_ops.ext
from mmareaaware_ops import torchvision_ops as lookup

from .cases import NUM_CASES, OPERATORS


@pytest.fixture(autouse=True)
def _look_again():
    lookup.torchvision_ops.cache_clear()
    yield
    lookup.torchvision_ops.cache_clear()


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in; `calls` holds names and arguments."""
    calls = []

    def nms(boxes, scores, iou_threshold):
        calls.append(("nms", iou_threshold))
        return torch.zeros(1, dtype=torch.long)

    def roi_align(maps, rois, size, scale, ratio, aligned):
        calls.append(("roi_align", size, scale, ratio, aligned))
        return maps.sum() * 2 + maps.new_zeros(len(rois), maps.size(1), *size)

    def deform_conv2d(maps, offset, weight, bias, stride, padding, dilation, mask):
        calls.append(("deform_conv2d", stride, padding, dilation, mask is not None))
        total = maps.sum() + 2 * offset.sum() + 3 * weight.sum()
        if mask is not None:
            total = total + 4 * mask.sum() + 5 * bias.sum()
        return total + maps.new_zeros(len(maps), len(weight), *offset.shape[2:])

    module = ModuleType("torchvision")
    module.ops = SimpleNamespace(
        nms=nms, roi_align=roi_align, deform_conv2d=deform_conv2d
    )
    monkeypatch.setitem(sys.modules, "torchvision", module)
    return SimpleNamespace(calls=calls)


def test_nms(ours, torchvision):
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    ours.nms(boxes, scores, iou_threshold=0.6, offset=1)
    ours.nms(boxes.double(), scores.double(), iou_threshold=0.6, offset=0)
    assert not torchvision.calls  # computes something else for these
    ours.nms(boxes, scores, iou_threshold=0.6, offset=0)
    assert torchvision.calls == [("nms", float(np.float32(0.6)))]


def test_roi_align(ours, torchvision):
    maps = torch.rand(1, 2, 5, 5, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1, 3, 3]])
    roi_align(maps, rois, (3, 2), 0.5, 0, "max", True)
    assert not torchvision.calls
    pooled = roi_align(maps, rois, (3, 2), 0.5, 0, "avg", True)
    assert pooled.eq(2 * maps.sum()).all()
    pooled.sum().backward()
    assert maps.grad.eq(2 * pooled.numel()).all()
    assert torchvision.calls == [("roi_align", (3, 2), 0.5, 0, True)] * 2


def test_deform_conv(ours, torchvision):
    inputs = [torch.rand(1, 2, 5, 5), torch.rand(1, 8, 4, 4), torch.rand(3, 2, 2, 2)]
    for x in inputs:
        x.requires_grad_()
    deform_conv2d(*inputs).sum().backward()
    call = ("deform_conv2d", (1, 1), (0, 0), (1, 1), False)
    assert torchvision.calls == [call] * 3  # forward, and backward in two parts
    for factor, x in enumerate(inputs, 1):
        assert x.grad.eq(factor * 3 * 16).all()


def test_no_slope_from_a_cell_outside_on(ours, torchvision):
    """Where mmcv has none: at the border of a module whose offsets are still 0."""
    offset = torch.zeros(1, 2, 7, 7, requires_grad=True)
    weight = torch.rand(3, 2, 1, 1)
    deform_conv2d(torch.rand(1, 2, 5, 5), offset, weight, 1, 1).sum().backward()
    inner = torch.zeros(7, 7)
    inner[1:6, 1:6] = 2 * 3 * 49
    assert offset.grad.eq(inner).all()


def test_modulated_deform_conv(ours, torchvision):
    maps, offset, weight = (
        torch.rand(1, 2, 5, 5),
        torch.rand(1, 8, 4, 4),
        torch.rand(3, 2, 2, 2),
    )
    mask, bias = torch.rand(1, 4, 4, 4), torch.rand(3)
    inputs = (maps, offset, mask, weight, bias)
    for x in inputs:
        x.requires_grad_()
    modulated_deform_conv2d(*inputs, 1, 0, 1, 1, 1).sum().backward()
    assert torchvision.calls == [("deform_conv2d", (1, 1), (0, 0), (1, 1), True)] * 2
    for factor, x in zip((1, 2, 4, 3, 5), inputs, strict=True):
        assert x.grad.eq(factor * 3 * 16).all()


@pytest.fixture(params=["bfloat16", "deterministic"])
def dtype_it_cannot(request, monkeypatch):
    """A dtype that it lacks, or any on a GPU that has to be deterministic."""
    if request.param == "bfloat16":
        return torch.bfloat16
    monkeypatch.setattr(lookup, "must_be_deterministic", lambda _: True)
    return torch.float


def test_what_it_cannot_is_not_asked_of_it(ours, torchvision, dtype_it_cannot):
    def leaf(*shape):
        return torch.rand(*shape).to(dtype_it_cannot).requires_grad_()

    maps, rois = leaf(1, 2, 5, 5), torch.tensor([[0, 1.0, 1, 3, 3]])
    args = rois.to(dtype_it_cannot), (3, 2), 0.5, 0, "avg", True
    roi_align(maps, *args).sum().backward()
    deform_conv2d(maps, leaf(1, 8, 4, 4), leaf(3, 2, 2, 2)).sum().backward()
    assert not torchvision.calls
    assert maps.grad.any()


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError, AttributeError])
def test_does_not_load(monkeypatch, error):
    tries = []

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torchvision":
                tries.append(name)
                raise error("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for _ in range(3):
        kept = mmareaaware_ops.ext.nms(
            torch.rand(1, 4), torch.rand(1), iou_threshold=0.5, offset=0
        )
        assert kept.tolist() == [0]
    assert len(tries) == 1


@pytest.mark.parametrize("name", [n for n in OPERATORS if n != "softnms"])
def test_equals_the_real_one(monkeypatch, name):
    if not lookup.torchvision_ops():
        pytest.skip("torchvision is missing, or was built for another torch")
    for seed in range(NUM_CASES):
        theirs = OPERATORS[name](mmareaaware_ops.ext, seed)
        with monkeypatch.context() as patch:
            for module in ("nms", "torchvision_ops"):
                module = sys.modules[f"mmareaaware_ops.{module}"]
                patch.setattr(module, "torchvision_ops", lambda: None)
            ours = OPERATORS[name](mmareaaware_ops.ext, seed)
        assert ours.exact.equal(theirs.exact)
        for a, b in zip(ours.close, theirs.close, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=theirs.tolerance)
