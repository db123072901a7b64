"""The exact prior of codes on a grid: which probability every choice of a code gets.

One network per residual stage. It sees, on the grid of `numeric.exact`, the sum of the vectors of
earlier stages everywhere and the vectors of its own stage where they are decoded, and gives a
feature vector per position; the logit of a tree node is that vector times the node's own. The same
features may predict the mean of the vector, of which the code then says what is missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import Array, cast_like, concat, expand, namespace
from imgcodec.codec.numeric.exact import Arithmetic

GROUPS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Positions of a 2x2 cell in the order in which they are coded."""
MEAN_MAX = 8.0
"""Means are clamped to this: with them sums stay exact."""


def group_of_positions(height: int, width: int) -> NDArray[np.int64]:
    """Return (height, width): the number of the group that codes each position."""
    cell = np.empty((2, 2), np.int64)
    for number, (row, column) in enumerate(GROUPS):
        cell[row, column] = number
    return np.tile(cell, (-(-height // 2), -(-width // 2)))[:height, :width]


def prior_features(p: Any, context: Array, arithmetic: Arithmetic) -> Array:
    """Return features (B, E, h, w) of a context (B, 2 D + 1, h, w); `p` is of a `CodePrior`."""
    activate = arithmetic.activate
    x = activate(arithmetic.pointwise(context, p.known))
    x = activate(arithmetic.depthwise(x, p.near))
    x = activate(arithmetic.pointwise(x, p.mix))
    x = activate(arithmetic.depthwise(x, p.far))
    return activate(arithmetic.pointwise(x, p.out))


def prior_mean(p: Any, features: Array, arithmetic: Arithmetic) -> Array | None:
    """Return the means (B, D, h, w) that features predict, None of a prior without."""
    if p.mean is None:
        return None
    return namespace(features).clip(arithmetic.pointwise(features, p.mean), -MEAN_MAX, MEAN_MAX)


def prior_logits(p: Any, features: Array, nodes: Array) -> Array:
    """Return the logits (...) of a node each for feature vectors (..., E)."""
    return (p.nodes[nodes] * features).sum(-1) + p.node_bias[nodes]


def bits_of_codes(p: Any, features: Array) -> Array:
    """Return how many bits every code (..., 2^B) would take where features (..., E) are seen."""
    xp = namespace(features)
    logits = features @ cast_like(p.nodes, features).T + cast_like(p.node_bias, features)
    zero = (xp.clip(logits, 0, None) + xp.log1p(xp.exp(-xp.abs(logits)))) / math.log(2)
    one = zero - logits / math.log(2)
    bits, start = zero[..., :1] * 0, 1
    while start < len(p.nodes):
        level = slice(start, 2 * start)
        both = xp.stack([bits + zero[..., level], bits + one[..., level]], -1)
        bits, start = both.reshape(*both.shape[:-2], -1), 2 * start
    return bits


def context_of(before: Array, own: Array, decoded: Array) -> Array:
    """Return the input (B, 2 D + 1, h, w) of a prior.

    Args:
        before: (B, D, h, w) sum of the vectors of earlier stages.
        own: (B, D, h, w) vectors of this stage.
        decoded: bool (h, w), where `own` is known.
    """
    known = cast_like(decoded, own)
    return concat([before, own * known, expand(known, (len(own), 1, *known.shape))], 1)
