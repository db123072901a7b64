"""The exact prior of codes on a grid: which probability every choice of a code gets.

One network per residual stage. It sees, on the grid of `exact.py`, the sum of the vectors of
earlier stages everywhere and the vectors of its own stage where they are decoded, and gives a
feature vector per position; the logit of a tree node is that vector times the node's own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from imgcodec.codec.nets.exact import (
    BIAS_BITS,
    Arithmetic,
    ExactDepthwise,
    ExactPointwise,
    Grid,
)

GROUPS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Positions of a 2x2 cell in the order in which they are coded."""
NODES = Grid(BIAS_BITS, 64.0)


def group_of_positions(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return int64 (height, width): the number of the group that codes each position."""
    cell = torch.empty(2, 2, dtype=torch.long, device=device)
    for number, (row, column) in enumerate(GROUPS):
        cell[row, column] = number
    return cell.repeat(-(-height // 2), -(-width // 2))[:height, :width]


class CodePrior(nn.Module):
    """Logits of the choices of one stage's codes.

    Args:
        dims: D, length of the code vectors.
        width: E, channels of the network.
        num_bits: B; a code is one of 2^B.
    """

    exact_grids: ClassVar = {"nodes": NODES, "node_bias": NODES}

    def __init__(self, dims: int, width: int, num_bits: int) -> None:
        super().__init__()
        self.num_bits = num_bits
        self.known = ExactPointwise(2 * dims + 1, width)
        self.near = ExactDepthwise(width)
        self.mix = ExactPointwise(width, width)
        self.far = ExactDepthwise(width)
        self.out = ExactPointwise(width, width)
        self.nodes = nn.Parameter(torch.zeros(2**num_bits, width))
        self.node_bias = nn.Parameter(torch.zeros(2**num_bits))

    def forward(self, context: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Return features (B, h, w, E) of a context (B, 2 D + 1, h, w)."""
        x = arithmetic.activate(self.known(context, arithmetic))
        x = arithmetic.activate(self.near(x, arithmetic))
        x = arithmetic.activate(self.mix(x, arithmetic))
        x = arithmetic.activate(self.far(x, arithmetic))
        return arithmetic.activate(self.out(x, arithmetic)).permute(0, 2, 3, 1)

    def logits(self, features: Tensor, nodes: Tensor) -> Tensor:
        """Return the logits (...) of a node each for feature vectors (..., E)."""
        return (self.nodes[nodes] * features).sum(dim=-1) + self.node_bias[nodes]


def context_of(before: Tensor, own: Tensor, decoded: Tensor) -> Tensor:
    """Return the input (..., 2 D + 1, h, w) of a prior.

    Args:
        before: (..., D, h, w) sum of the vectors of earlier stages.
        own: (..., D, h, w) vectors of this stage.
        decoded: bool (h, w), where `own` is known.
    """
    known = decoded.to(own.dtype)
    flag = known.expand(*own.shape[:-3], 1, *known.shape)
    return torch.cat([before, own * known, flag], dim=-3)
