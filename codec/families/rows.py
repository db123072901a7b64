"""Table rows of the masked passes, by exact networks over their parameters `p`.

`p` is a module of `nets.context`, or the part of a tree of NumPy arrays with the same names.
"""

from __future__ import annotations

from typing import Any

from imgcodec.codec.numeric.arrays import Array, cast, concat, expand, namespace, pixel_shuffle
from imgcodec.codec.numeric.exact import INPUT_MAX, Arithmetic, compand


def tile_cell(cell: Array, size: tuple[int, int]) -> Array:
    """Repeat a (C, 2, 2) cell over the sides (height, width)."""
    height, width = size
    # No negative numbers: traced graphs divide towards zero.
    tiled = namespace(cell).tile(cell, (1, (height + 1) // 2, (width + 1) // 2))
    return tiled[:, :height, :width]


def row_net(p: Any, features: Array, decoded: Array, arithmetic: Arithmetic) -> Array:
    """Return log-scale offsets of one pass.

    Args:
        p: of a `RowNet`.
        features: (B, E, h, w), exact hyper features.
        decoded: (B, M, h, w), companded integers decoded so far.
        arithmetic: of the training or of the codec.

    Returns:
        (B, M, h, w).
    """
    phase = tile_cell(p.phase, features.shape[2:])
    x = arithmetic.pointwise(features, p.features, onto=phase)
    del phase  # large, as all here: of a tile of 1024 pixels no more than two are there at a time
    if p.decoded is not None:
        x = arithmetic.pointwise(decoded, p.decoded, onto=x)
    for layer, apply in (
        (p.depthwise, arithmetic.depthwise),
        (p.mix, arithmetic.pointwise),
        (p.out, arithmetic.pointwise),
    ):
        x = arithmetic.activate(x)
        x = apply(x, layer)
    return x


def row_features(p: Any, z: Array, weights: Array, arithmetic: Arithmetic) -> Array:
    """Return the hyper features of the rows: from z at 1/64 to 1/16.

    Args:
        p: of `RowFeatures`.
        z: integers (B, Nz, h/4, w/4).
        weights: (B, A) of the rate anchors.
        arithmetic: of the training or of the codec.

    Returns:
        (B, E, h, w).
    """
    activate = arithmetic.activate
    z = namespace(z).clip(cast(z, arithmetic.dtype), -INPUT_MAX, INPUT_MAX)
    level = (weights @ p.level)[:, :, None, None]
    x = activate(arithmetic.pointwise(z, p.first) + level)
    x = activate(arithmetic.depthwise(x, p.depthwise))
    x = pixel_shuffle(activate(arithmetic.pointwise(x, p.up1)), 2)
    return pixel_shuffle(activate(arithmetic.pointwise(x, p.up2)), 2)


def first_row_features(
    p: Any, weights: Array, size: tuple[int, int], arithmetic: Arithmetic
) -> Array:
    """Return the features of the coarsest level, (B, E, h, w), from rates (B, A) alone."""
    level = arithmetic.activate(weights @ p.level)
    return expand(level[:, :, None, None], (*level.shape, *size))


def finer_row_features(
    p: Any, q: Array, features: Array, weights: Array, arithmetic: Arithmetic
) -> Array:
    """Return the features of a level from the integers and features of the level above it.

    Args:
        p: of a `RowStage`.
        q: (B, M, h, w) integers of the level above.
        features: (B, in, h, w) with which their rows were found.
        weights: (B, 2 A) anchor weights of the level above and of this one.
        arithmetic: of the training or of the codec.

    Returns:
        (B, E, 2h, 2w).
    """
    activate = arithmetic.activate
    q = cast(q, arithmetic.dtype)
    seen = concat([namespace(q).clip(q, -INPUT_MAX, INPUT_MAX), compand(q)], 1)
    level = (weights @ p.level)[:, :, None, None]
    x = arithmetic.pointwise(seen, p.decoded) + arithmetic.pointwise(features, p.carried) + level
    x = arithmetic.depthwise(activate(x), p.depthwise)
    return pixel_shuffle(activate(arithmetic.pointwise(activate(x), p.up)), 2)
