"""The exact prior of codes on a grid: which probability every choice of a code gets.

One network per residual stage. It sees, on the grid of `numeric.exact`, the sum of the vectors of
earlier stages everywhere and the vectors of its own stage where they are decoded, and gives a
feature vector per position; the logit of a tree node is that vector times the node's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import Array, cast_like, concat, expand, permute
from imgcodec.codec.numeric.exact import Arithmetic

GROUPS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Positions of a 2x2 cell in the order in which they are coded."""


def group_of_positions(height: int, width: int) -> NDArray[np.int64]:
    """Return (height, width): the number of the group that codes each position."""
    cell = np.empty((2, 2), np.int64)
    for number, (row, column) in enumerate(GROUPS):
        cell[row, column] = number
    return np.tile(cell, (-(-height // 2), -(-width // 2)))[:height, :width]


def prior_features(p: Any, context: Array, arithmetic: Arithmetic) -> Array:
    """Return features (B, h, w, E) of a context (B, 2 D + 1, h, w); `p` is of a `CodePrior`."""
    activate = arithmetic.activate
    x = activate(arithmetic.pointwise(context, p.known))
    x = activate(arithmetic.depthwise(x, p.near))
    x = activate(arithmetic.pointwise(x, p.mix))
    x = activate(arithmetic.depthwise(x, p.far))
    return permute(activate(arithmetic.pointwise(x, p.out)), (0, 2, 3, 1))


def prior_logits(p: Any, features: Array, nodes: Array) -> Array:
    """Return the logits (...) of a node each for feature vectors (..., E)."""
    return (p.nodes[nodes] * features).sum(-1) + p.node_bias[nodes]


def context_of(before: Array, own: Array, decoded: Array) -> Array:
    """Return the input (B, 2 D + 1, h, w) of a prior.

    Args:
        before: (B, D, h, w) sum of the vectors of earlier stages.
        own: (B, D, h, w) vectors of this stage.
        decoded: bool (h, w), where `own` is known.
    """
    known = cast_like(decoded, own)
    return concat([before, own * known, expand(known, (len(own), 1, *known.shape))], 1)
