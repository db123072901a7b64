"""The parameters of the exact prior of codes on a grid; see `families.prior`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imgcodec.codec.nets.exact import WEIGHTS, ExactDepthwise, ExactPointwise, Grid
from imgcodec.codec.numeric.exact import BIAS_BITS

NODES = Grid(BIAS_BITS, 64.0)


class CodePrior(nn.Module):
    """Logits of the choices of one stage's codes.

    Args:
        dims: D, length of the code vectors.
        width: E, channels of the network.
        num_bits: B; a code is one of 2^B.
        with_mean: vectors are relative to a mean that is predicted.
        short_nodes: vectors of nodes lie on the grid of weights, and take two bytes a number.
    """

    def __init__(
        self,
        dims: int,
        width: int,
        num_bits: int,
        *,
        with_mean: bool = False,
        short_nodes: bool = False,
    ) -> None:
        super().__init__()
        self.exact_grids = {"nodes": WEIGHTS if short_nodes else NODES, "node_bias": NODES}
        self.num_bits = num_bits
        self.known = ExactPointwise(2 * dims + 1, width)
        self.near = ExactDepthwise(width)
        self.mix = ExactPointwise(width, width)
        self.far = ExactDepthwise(width)
        self.out = ExactPointwise(width, width)
        self.mean = ExactPointwise(width, dims, zero=True) if with_mean else None
        self.nodes = nn.Parameter(torch.zeros(2**num_bits, width))
        self.node_bias = nn.Parameter(torch.zeros(2**num_bits))

    @torch.no_grad()
    def start_from(self, codes: Tensor) -> None:
        """Predict the shares that codes have among (N,), whatever is seen."""
        counts = torch.bincount(codes, minlength=2**self.num_bits).float()
        self.nodes.zero_()
        for depth in reversed(range(self.num_bits)):
            zeros, ones = counts.reshape(-1, 2).T
            self.node_bias[1 << depth : 2 << depth] = torch.log((ones + 0.5) / (zeros + 0.5))
            counts = zeros + ones
