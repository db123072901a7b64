"""Exact arithmetic: integers in, table rows out, bit-identical on every machine.

A layer's weights lie on the grid 2**-WEIGHT_BITS, activations on 2**-ACTIVATION_BITS within
[0, ACTIVATION_MAX), biases on 2**-BIAS_BITS. In float64 every product and every partial sum is
then a multiple of 2**-BIAS_BITS (or coarser) and far below 2**53 of these units, so each addition
is exact and no order of summation, no library and no thread count can change a bit. The only
operations are +, *, comparison, floor and scaling by powers of two. Pointwise layers are matrix
products, depthwise layers nine shifted multiply-adds: nothing that a library could replace by a
transform algorithm such as Winograd's.

Every net is written once (`families.rows`, `families.prior`), over an arithmetic: `EXACT` for
coding, `nets.exact.FLOAT` for training, where the same parameters run in plain floating point.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import Array, is_numpy

WEIGHT_BITS, BIAS_BITS = 12, 20
ACTIVATION_BITS = 8
ACTIVATION_MAX = 16.0
MAGNITUDE_MAX = 2**15
"""Streams have no larger integers."""
INPUT_MAX = 64
"""Networks see nothing larger: integers are clamped to it or companded, sums of code vectors and
activations are smaller."""
VALUES_AT_ONCE = 2**16
"""Of a depthwise layer: what it pads and multiplies stays small, and in the cache."""
SUM_BITS = 53
"""Sums fit into so many, which `nets.exact.snap_` checks when weights are exported."""


def on_grid(x: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Round to multiples of 2**-bits (halves up)."""
    out = x * 2.0**bits
    out += 0.5
    np.floor(out, out=out)
    out *= 2.0**-bits
    return out


def compand(q: Array) -> Array:
    """Squeeze |q| to about 1.3 * log2(1 + |q|) by dyadic, piecewise linear pieces.

    Exact for integers in any float type of 24 or more bits.
    """
    if not is_numpy(q):
        a = q.abs()
        return a.clamp(max=2) * 0.5 + a.clamp(max=8) * 0.125 + a.clamp(max=32) * 0.03125
    a = np.abs(q)
    out, part = np.minimum(a, 2), np.minimum(a, 8)
    out *= 0.5
    out += np.multiply(part, 0.125, out=part)
    out += np.multiply(np.minimum(a, 32, out=part), 0.03125, out=part)
    return out


class Arithmetic(Protocol):
    """How the layers of exact networks compute; a layer has a `weight` and a `bias`."""

    dtype: str

    def pointwise(self, x: Array, layer: Any, onto: Array | None = None) -> Array:
        """Map (B, C, H, W) to (B, out, H, W), added to `onto` if that is given."""

    def depthwise(self, x: Array, layer: Any) -> Array:
        """Convolve (B, C, H, W) with a 3x3 window of zero padding in each channel."""

    def activate(self, x: Array) -> Array:
        """Clamp to [0, ACTIVATION_MAX), on its grid."""


class ExactArithmetic:
    """Of the codec: NumPy, float64 on the grids, every sum exact in any order."""

    dtype = "float64"

    def pointwise(
        self, x: NDArray[np.float64], layer: Any, onto: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Map (1, C, H, W) on the activation grid to (1, out, H, W), without rounding."""
        _, channels, height, width = x.shape
        out = layer.weight[:, :, 0, 0] @ x.reshape(channels, height * width)
        out += layer.bias[:, None]
        out = out.reshape(1, -1, height, width)
        if onto is not None:
            out += onto
        return out

    def depthwise(self, x: NDArray[np.float64], layer: Any) -> NDArray[np.float64]:
        """Convolve (1, C, H, W) on the activation grid, as nine shifted multiply-adds."""
        _, channels, height, width = x.shape
        weights = layer.weight[:, 0, :, :, None, None]
        out = np.empty_like(x)
        out[0] = layer.bias[:, None, None]
        most = min(channels, max(1, VALUES_AT_ONCE // (height * width)))
        padded = np.zeros((most, height + 2, width + 2))
        product = np.empty((most, height, width))
        for first in range(0, channels, most):
            some = slice(first, first + most)
            count = min(most, channels - first)
            padded[:count, 1:-1, 1:-1] = x[0, some]
            for row in range(3):
                for column in range(3):
                    window = padded[:count, row : row + height, column : column + width]
                    np.multiply(window, weights[some, row, column], out=product[:count])
                    out[0, some] += product[:count]
        return out

    def activate(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round onto the activation grid and clamp to [0, ACTIVATION_MAX)."""
        out = on_grid(x, ACTIVATION_BITS)
        return np.clip(out, 0.0, ACTIVATION_MAX - 2.0**-ACTIVATION_BITS, out=out)


EXACT = ExactArithmetic()
