"""First values for the layers that a level of stride 4 adds to a trained network.

The network keeps what it says on the three levels it was trained with. On the new level
it starts by saying what it says on the next: P2 carries half of the channels of P3,
enlarged, and its head is that of P3. What P2 sees besides, the finer features of the
backbone, comes in through weights that start at zero and that training raises.

A convolution here is one of mmcv's ``ConvModule``, without bias and with BatchNorm and
SiLU, by the name that it has in a state dict: ``x`` stands for ``x.conv.weight``,
``x.bn.bias`` and so on. ``Weights`` are the entries of a layer, by names in the layer.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]

# Where a standard normal variable has to be moved for SiLU to leave it nearly as it is.
LINEAR = 6.0
# The last convolution of a branch of the head
LAST = "2"
VECTORS = ("weight", "bias", "running_mean", "running_var")


def silu_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of SiLU(u), where u is normally distributed.

    Args:
        mean: Of u, (C,).
        std: Of u, (C,).

    Returns:
        Mean and variance of SiLU(u) and its covariance with u, (C,) each.
    """
    z = torch.linspace(-5, 5, 201)
    share = torch.softmax(-(z**2) / 2, 0)
    u = mean[:, None] + std[:, None] * z
    out = F.silu(u)
    centred = out - (out @ share)[:, None]
    return out @ share, centred**2 @ share, (centred * u) @ share


def halve(value: Tensor) -> Tensor:
    """The first half of the channels, in and out."""
    if value.ndim == 0:  # number of batches that BatchNorm saw
        return value.clone()
    value = value[: len(value) // 2]
    is_depthwise = value.ndim > 1 and value.shape[1] == 1
    if value.ndim > 1 and not is_depthwise:
        value = value[:, : value.shape[1] // 2]
    return value.clone()


def set_norm(layer: Weights, name: str, *values: Tensor | float) -> None:
    """BatchNorm after a convolution: its γ, β, mean and variance."""
    for key, value in zip(VECTORS, values, strict=True):
        layer[f"{name}.bn.{key}"] = torch.empty(
            len(layer[f"{name}.conv.weight"])
        ).copy_(torch.as_tensor(value))


def pass_through(top_down: Weights, bottom_up: Weights, p2_channels: int) -> None:
    """Let P3 come unchanged through the step from P2 that now lies before it.

    Before, P3 = SiLU(γq + β) left the top-down layer, q being its last convolution,
    normalised. Now the top-down layer gives q + 6, of which SiLU changes little, the
    new bottom-up layer takes it along in this form, and does the γ, the β and the SiLU
    at its end.

    Args:
        top_down: The layer that gives P3. Changed.
        bottom_up: The layer after it, halved from that of the next level. Changed.
        p2_channels: Those of P2, which come first in its input.
    """
    gamma, beta = (top_down[f"final_conv.bn.{key}"] for key in VECTORS[:2])
    channels = len(gamma)
    mean, var, _ = silu_moments(torch.tensor([LINEAR]), torch.ones(1))
    set_norm(
        top_down,
        "final_conv",
        1.0,
        LINEAR,
        top_down["final_conv.bn.running_mean"],
        top_down["final_conv.bn.running_var"],
    )
    identity = torch.eye(channels)[..., None, None]
    before = torch.zeros(channels, p2_channels, 1, 1)
    bottom_up["main_conv.conv.weight"] = torch.cat([before, identity], 1)
    set_norm(bottom_up, "main_conv", 1.0, LINEAR, mean, var)
    _first_of_concatenated(bottom_up, identity)
    set_norm(bottom_up, "final_conv", gamma, beta, mean, var)


def enlarge(
    layer: Weights, kept: Tensor, gamma: Tensor, beta: Tensor, backbone_channels: int
) -> None:
    """Let the top-down layer of P2 give channels of P3.

    Args:
        layer: Halved from that of P3. Changed.
        kept: Which channels, (P2's,).
        gamma: γ of P3's last normalisation, before :func:`pass_through`.
        beta: β of it.
        backbone_channels: Of stride 4, which come last in the layer's input.
    """
    chosen = torch.eye(len(gamma))[kept][..., None, None]
    beside = torch.zeros(len(kept), backbone_channels, 1, 1)
    layer["main_conv.conv.weight"] = torch.cat([chosen, beside], 1)
    mean, var, _ = silu_moments(torch.tensor([LINEAR]), torch.ones(1))
    gamma, beta = gamma[kept], beta[kept]
    set_norm(layer, "main_conv", gamma, beta, mean, var)
    _first_of_concatenated(layer, torch.eye(len(kept))[..., None, None])
    # The line through SiLU(u) that is nearest to u, since another SiLU follows
    mean, var, covariance = silu_moments(beta, gamma.abs())
    set_norm(layer, "final_conv", covariance / var.sqrt(), beta, mean, var)


def _first_of_concatenated(layer: Weights, identity: Tensor) -> None:
    """The last convolution of a CSP layer takes its input, not what its blocks made."""
    made = layer["final_conv.conv.weight"].shape[1] - len(identity)
    layer["final_conv.conv.weight"] = torch.cat(
        [identity, torch.zeros(len(identity), made, 1, 1)], 1
    )


class Branch:
    """A branch of the head on one level, from which channels can be taken out.

    Args:
        weights: Entries of the branch. The last convolution has a bias, and neither
            normalisation nor activation.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = {key: value.clone() for key, value in weights.items()}
        ends = ".conv.weight"
        self.convs = sorted(
            key.removesuffix(ends) for key in self.weights if key.endswith(ends)
        )

    @property
    def width(self) -> int:
        return len(self.weights[f"{self.convs[-1]}.conv.weight"])

    def importance(self, first: int, gamma: Tensor, beta: Tensor) -> Tensor:
        """How much of what a convolution sees is of each channel.

        Args:
            first: Index of the convolution that reads the channels.
            gamma: γ of the normalisation before it, (C,).
            beta: β of it.

        Returns:
            (C,), of sum 1.
        """
        _, var, _ = silu_moments(beta, gamma.abs())
        value = var * self._mixing(first).square().sum((0, 2, 3))
        return value / value.sum()

    def keep(self, first: int, kept: Tensor, gamma: Tensor, beta: Tensor) -> None:
        """Read fewer channels; what is left out counts with its mean.

        Args:
            first: Index of the convolution that reads them.
            kept: Which ones.
            gamma: γ of the normalisation before it.
            beta: β of it.
        """
        for name in self.convs[first:]:
            weight = self.weights[f"{name}.conv.weight"]
            if weight.shape[1] > 1:
                break
            gamma, beta = (self.weights[f"{name}.bn.{key}"] for key in VECTORS[:2])
            self._keep_outputs(name, kept)
        mean, _, _ = silu_moments(beta, gamma.abs())
        mean[kept] = 0
        mixing = self._mixing(first)
        left_out = mixing.sum((2, 3)) @ mean
        name = self._mixing_name(first)
        if name == LAST:
            self.weights[f"{name}.bias"] += left_out
        else:
            self.weights[f"{name.removesuffix('.conv')}.bn.running_mean"] -= left_out
        self.weights[f"{name}.weight"] = mixing[:, kept]

    def narrow(self, width: int) -> None:
        """Take channels out between its convolutions."""
        for index, name in enumerate(self.convs):
            weight = self.weights[f"{name}.conv.weight"]
            if weight.shape[1] == 1 or len(weight) == width:
                continue
            norm = [self.weights[f"{name}.bn.{key}"] for key in VECTORS[:2]]
            kept = most_important(self.importance(index + 1, *norm), width)
            self.keep(index + 1, kept, *norm)
            self._keep_outputs(name, kept)

    def _keep_outputs(self, name: str, kept: Tensor) -> None:
        for key in (f"{name}.conv.weight", *(f"{name}.bn.{v}" for v in VECTORS)):
            self.weights[key] = self.weights[key][kept]

    def _mixing_name(self, first: int) -> str:
        """The first convolution from one on that is not depthwise."""
        for name in self.convs[first:]:
            if self.weights[f"{name}.conv.weight"].shape[1] > 1:
                return f"{name}.conv"
        return LAST

    def _mixing(self, first: int) -> Tensor:
        return self.weights[f"{self._mixing_name(first)}.weight"]


def most_important(importance: Tensor, number: int) -> Tensor:
    """Indices of the largest, in ascending order."""
    return importance.topk(number).indices.sort().values


def stretch(weights: Weights) -> None:
    """Box distances of twice as many strides, since the stride is half as long.

    Bin j of the distribution of a side takes the logit that was at j / 2.

    Args:
        weights: Of the box branch, whose last convolution gives the logits of 4 sides.
            Changed.
    """
    for key in (f"{LAST}.weight", f"{LAST}.bias"):
        value = weights[key]
        sides = value.unflatten(0, (4, -1))
        j = torch.arange(sides.shape[1])
        weights[key] = ((sides[:, j // 2] + sides[:, (j + 1) // 2]) / 2).flatten(0, 1)
