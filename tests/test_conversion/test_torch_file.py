"""Weights in files of torch.save."""

import pytest
import torch

from mmareaaware.conversion.inert_pickle import Placeholder
from mmareaaware.conversion.torch_file import TorchFileError, read_torch_file
from tests.test_conversion.torch_files import Net, equal, read_weights, save, zip_of


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


def module_program(children: bytes) -> bytes:
    """A module in the memo under 0, with such a dict as its children."""
    return (
        b"\x80\x04cnn\nModule\n)\x81\x94}(\x8c\x0b_parameters}\x8c\x08_buffers}"
        b"\x8c\x08_modules}(" + children + b"uub."
    )


def test_a_module_in_itself(tmp_path):
    for children in (b"\x8c\x01ah\x00", b"\x8c\x01ah\x00\x8c\x01bh\x00"):
        path = zip_of(tmp_path / "p.pt", module_program(children))
        with pytest.raises(TorchFileError, match="so many modules"):
            read_weights(path)


@pytest.mark.parametrize(
    "content", [{}, [], dict(epoch=3), dict(a=1), dict(model=dict(a=1)), "text", None]
)
def test_no_model(tmp_path, content):
    with pytest.raises(TorchFileError, match="no model"):
        read_weights(save(content, tmp_path / "x.pt"))
