"""Between models of torch and the tensors of weights files; see `weights.store`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.nets.exact import WEIGHTS, exact_tensors
from imgcodec.codec.numeric.exact import BIAS_BITS, WEIGHT_BITS


@torch.inference_mode(False)  # whoever loads first: refinement needs gradients
def model_of_arrays(
    family: str, sizes: dict[str, Any], arrays: Mapping[str, NDArray]
) -> TorchModel:
    """Return the model of stored tensors, ready for coding.

    Raises:
        OptionError, RuntimeError, ValueError: tensors and sizes do not fit each other.
    """
    with torch.random.fork_rng(devices=[]):  # the untrained parameters are nobody's business
        model = build_model(family, sizes)
    state = {name: integers_to_float(torch.from_numpy(array)) for name, array in arrays.items()}
    model.load_state_dict(state)
    return model.prepare().to(memory_format=torch.channels_last)


def stored_arrays(model: TorchModel) -> dict[str, NDArray]:
    """Return the tensors of a prepared model as they are stored.

    Raises:
        OptionError: an exact tensor does not fit its integers.
    """
    exact = {name: grid for name, _, grid in exact_tensors(model)}
    arrays = {}
    for name, tensor in model.state_dict().items():
        if name not in exact:
            arrays[name] = tensor.numpy().astype(np.float16 if tensor.ndim == 4 else np.float32)
        elif exact[name] == WEIGHTS:
            arrays[name] = _float_to_integers(name, tensor, WEIGHT_BITS, np.int16)
        else:
            arrays[name] = _float_to_integers(name, tensor, BIAS_BITS, np.int32)
    return arrays


def _float_to_integers(name: str, tensor: torch.Tensor, bits: int, kind: type) -> NDArray:
    """Return a tensor in units of 2**-bits."""
    units = tensor.double().numpy() * 2.0**bits
    if np.any(units != np.round(units)) or np.abs(units).max() > np.iinfo(kind).max:
        raise OptionError(f"{name} does not lie on its grid")
    return units.astype(kind)


def integers_to_float(tensor: torch.Tensor) -> torch.Tensor:
    """Return a stored tensor as float32, integers in their units."""
    if tensor.dtype == torch.int16:
        return tensor.float() * 2.0**-WEIGHT_BITS
    if tensor.dtype == torch.int32:
        return (tensor.double() * 2.0**-BIAS_BITS).float()
    return tensor.float()
