"""Weights in files of torch.save."""

import pytest
import torch

from mmareaaware.conversion.inert_pickle import Global, Placeholder
from mmareaaware.conversion.torch_file import (
    TorchFileError,
    find_state_dict,
    read_torch_file,
)
from tests.test_conversion.torch_files import Net, equal, read_weights, save


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("half", [False, True])
def test_a_pickled_module_gives_its_state_dict(tmp_path, protocol, half):
    model = Net().half() if half else Net()
    content = dict(epoch=-1, ema=None, model=model, date="today", opt=dict(lr=0.1))
    path = save(content, tmp_path / "n.pt", pickle_protocol=protocol)
    read = read_torch_file(path)
    assert isinstance(read["model"], Placeholder)
    assert str(read["model"].origin).endswith("torch_files.Net")
    assert (read["epoch"], read["opt"]) == (-1, dict(lr=0.1))
    equal(read_weights(path), model.state_dict())


def test_a_checkpoint_of_a_training(tmp_path):
    """Ours, with optimiser and history."""
    from mmengine.logging import HistoryBuffer

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    model.layers(torch.rand(1, 3, 2, 2)).sum().backward()
    optimizer.step()
    content = dict(
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        message_hub=dict(log_scalars={"train/loss": HistoryBuffer([1.0], [1])}),
    )
    path = save(content, tmp_path / "epoch_1.pth")
    equal(read_weights(path), model.state_dict())


def module(parameters=(), **children):
    state = dict(_parameters=dict(parameters), _buffers={}, _modules=children)
    return Placeholder(Global("torch.nn", "Module"), state)


def test_more_modules_than_any_network_has():
    """Nineteen of them, if it were not for how often each is held."""
    model = module({"weight": torch.zeros(1)})
    for _ in range(18):
        model = module(a=model, b=model)
    with pytest.raises(TorchFileError, match=r"p\.pt: no network has so many modules"):
        find_state_dict(model, "p.pt")


def test_a_longer_name_than_any_weight_has():
    assert find_state_dict(module({"w" * 500: torch.zeros(1)}), "p.pt")
    with pytest.raises(TorchFileError, match=r"p\.pt: no network has so long names"):
        find_state_dict(module({"w" * 501: torch.zeros(1)}), "p.pt")


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_module_in_itself(names):
    model = module()
    model.state["_modules"] = dict.fromkeys(names, model)
    with pytest.raises(TorchFileError, match=r"p\.pt: no network has so"):
        find_state_dict(model, "p.pt")


@pytest.mark.parametrize(
    "content", [{}, [], dict(epoch=3), dict(a=1), dict(model=dict(a=1)), "text", None]
)
def test_no_model(tmp_path, content):
    with pytest.raises(TorchFileError, match="no model"):
        read_weights(save(content, tmp_path / "x.pt"))
