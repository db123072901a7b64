"""Parameters of a model as a tree of NumPy arrays, with the names that its modules have in torch.

tree = tree_of({"exact.rows.0.out.bias": ..., ...})
tree.exact.rows[0].out.bias
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.exact import BIAS_BITS, WEIGHT_BITS


class Node(SimpleNamespace):
    """A module: parameters and parts by name; what it does not have is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def tree_of(arrays: Mapping[str, NDArray]) -> Node:
    """Return the tree of arrays with dotted names; parts that are numbered become lists."""
    root: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            place = place.setdefault(part, {})
        place[last] = array
    return _node(root)


def _node(found: dict[str, Any]) -> Any:
    parts = {name: _node(part) if isinstance(part, dict) else part for name, part in found.items()}
    if parts and all(name.isdecimal() for name in parts):
        return [parts.get(str(number)) for number in range(1 + max(map(int, parts)))]
    return Node(**parts)


def as_stored(arrays: Mapping[str, NDArray]) -> Iterator[tuple[str, NDArray]]:
    """Yield what stored tensors mean: exact ones in float64, all others in float32.

    Integers are exact, of two bytes in units of 2**-12, of four in units of 2**-20. Weights of
    float convolutions are left out: their networks are a backend's.
    """
    for name, array in arrays.items():
        if array.dtype == np.int16:
            yield name, array.astype(np.float64) * 2.0**-WEIGHT_BITS
        elif array.dtype == np.int32:
            yield name, array.astype(np.float64) * 2.0**-BIAS_BITS
        elif array.ndim != 4:
            yield name, array.astype(np.float32)
