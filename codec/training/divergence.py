"""Runs that diverge: a state that led to usual losses is remembered, and taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

RECENT_WINDOWS = 10
"""Windows of the log from which the usual loss is known."""
DIVERGED, REMEMBERED = 1.5, 1.1
"""Times the usual loss: above the first a run goes back, below the second it is remembered."""


class LastGoodState:
    """Copies of tensors as they were when the loss was as usual.

    Args:
        tensors: returns all that steps change, in the same order at every call.
    """

    def __init__(self, tensors: Callable[[], list[Tensor]]) -> None:
        self._tensors = tensors
        self._good: list[Tensor] = []
        self._untried: list[Tensor] = []
        self._recent: deque[float] = deque(maxlen=RECENT_WINDOWS)

    def after(self, loss: float) -> bool:
        """Take note of the loss of a window; return whether the last good state was taken back."""
        usual = float(np.median(self._recent)) if self._recent else loss
        has_diverged = not loss < DIVERGED * usual
        if has_diverged and self._good:
            self._untried = []
            with torch.no_grad():
                for tensor, value in zip(self._tensors(), self._good, strict=True):
                    tensor.copy_(value)
            return True
        if not has_diverged:
            self._recent.append(loss)
            if loss < REMEMBERED * usual:
                self._good = self._untried
            self._untried = []
            if len(self._recent) == RECENT_WINDOWS:
                self._untried = [tensor.detach().clone() for tensor in self._tensors()]
        return False
