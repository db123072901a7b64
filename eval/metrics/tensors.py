"""Metrics of two tensors, and how uint8 arrays become them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from imgcodec.eval.metrics.base import MetricOptions, RgbArray


class TensorMetric(ABC):
    """A metric of one number on float tensors (1, 3, H, W) in 0..255, from a least side on.

    Attributes:
        columns: the column of the rows table that it fills.
        min_side_px: shorter pictures have no value.
        load: returns the package that computes it.
    """

    columns: tuple[str]
    min_side_px: int
    load: Callable[[], ModuleType]

    def __init__(self, options: MetricOptions) -> None:
        self._device = options.device
        self._package: Any = self.load()

    def prepare(self, reference: RgbArray) -> Any:
        """Return the original as a tensor."""
        return to_tensor(reference, self._device)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return the value of the column, NaN where a side is too short."""
        (column,) = self.columns
        if min(image.shape[:2]) < self.min_side_px:
            return {column: math.nan}
        return {column: float(self.compare(prepared, to_tensor(image, self._device)))}

    @abstractmethod
    def compare(self, reference: Any, image: Any) -> Any:
        """Return the value of an image against its original, both tensors."""

    @abstractmethod
    def describe(self) -> str:
        """Return package, version and variant as one line."""


def to_tensor(rgb: RgbArray, device: str) -> Any:
    """Return a uint8 HxWx3 array as a float32 tensor (1, 3, H, W) in 0..255."""
    import torch

    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))  # (3, H, W)
    return torch.from_numpy(planes).to(device=device, dtype=torch.float32)[None]
