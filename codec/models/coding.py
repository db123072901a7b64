"""Models of torch in the codec: their parameters as NumPy arrays, their networks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.registry import FAMILIES
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.numeric.arrays import to_numpy
from imgcodec.codec.numeric.parameters import tree_of


class TorchNets:
    """The float networks of a model of torch, with NumPy arrays in and out.

    Attributes:
        model: prepared.
    """

    def __init__(self, model: TorchModel) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        network = getattr(self.model, name)

        def run(*arguments: Any) -> Any:
            with torch.inference_mode():
                found = network(*map(self._tensor, arguments))
            if isinstance(found, tuple):
                return tuple(None if x is None else to_numpy(x) for x in found)
            return to_numpy(found)

        return run

    def _tensor(self, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        tensor = torch.from_numpy(x if x.flags.writeable else x.copy())
        tensor = tensor.to(next(self.model.parameters()).device)
        return tensor.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else tensor


def as_codec(model: TorchModel) -> CodecModel:
    """Return a prepared model of torch as the codec runs it, with networks of torch."""
    coded = FAMILIES[model.family].model(model.cfg)
    coded.axis = model.axis
    parameters = {name: to_numpy(tensor) for name, tensor in model.state_dict().items()}
    coded.take(tree_of(parameters), TorchNets(model))
    return coded
