"""Weights files: safetensors with metadata, checked and loaded once; see also `installed`.

Weights of convolutions, tensors of four dimensions, are most of a file and take two bytes an
element, all other tensors four. What table rows depend on (`nets.exact.exact_tensors`) is integer:
int16 in units of 2**-12, int32 in units of 2**-20. The rest is float16 or float32; the first files
have more of it in float16, which is read all the same. The hash in a file's metadata is the SHA-256
of names, types, shapes and bytes of all tensors; streams carry its first four bytes.

Further decoders of a model are files beside it, ``<id>.<decoder>.safetensors``: other tensors for
the synthesis alone, bound to the hash of the model. Streams know nothing of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from imgcodec.codec.errors import OptionError, UnknownModelError
from imgcodec.codec.models.base import CodecModel
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.nets.exact import BIAS_BITS, WEIGHT_BITS, exact_tensors
from imgcodec.codec.nets.objective import Objective
from imgcodec.codec.nets.thumbnail import Thumbnail
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.weights.installed import (
    FIDELITY,
    HASH_BYTES,
    ModelInfo,
    decoder_path,
    read_info,
)

QUALITY_POSITIONS = "quality.positions"
"""Tensor of the calibrated quality scale, if there is one; see `nets.rate.RateAxis`."""
TABLE_PREFIX = "tables."
THUMBNAIL_PREFIX = "thumbnails."


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for coding, with its tables and what it was trained for."""

    info: ModelInfo
    model: CodecModel
    tables: Tables
    objective: Objective
    thumbnails: Mapping[int, Thumbnail] = field(compare=False)
    """By reduction; none for another decoder, or where the weights have none."""

    @property
    def stream_hash(self) -> bytes:
        """Return the four bytes that streams carry."""
        return bytes.fromhex(self.info.hash)[:HASH_BYTES]


def load_model(info: ModelInfo, decoder: str = FIDELITY) -> LoadedModel:
    """Load a model with one of its decoders, once per process and file.

    Raises:
        UnknownModelError: there is no such decoder, or a file is damaged or does not fit.
    """
    if decoder not in info.decoders:
        known = ", ".join(info.decoders)
        raise UnknownModelError(f"{info.id} has no decoder '{decoder}'; known: {known}")
    path = info.path if decoder == FIDELITY else decoder_path(info.path, decoder)
    return _load(str(info.path), str(path), path.stat().st_mtime_ns)


def hash_of_tensors(arrays: Mapping[str, NDArray]) -> str:
    """Return the SHA-256 over names, types, shapes and little-endian bytes, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # whoever loads first: refinement needs gradients
def _load(model_path: str, decoder_file: str, _mtime_ns: int) -> LoadedModel:
    info = read_info(Path(model_path))
    arrays, metadata = _read_arrays(model_path)
    if decoder_file != model_path:
        others, details = _read_arrays(decoder_file)
        if details.get("model_hash") != info.hash:
            raise UnknownModelError(f"{decoder_file} belongs to other weights than {info.id}")
        if not set(others) <= set(arrays):
            raise UnknownModelError(f"{decoder_file} has tensors that {info.id} lacks")
        arrays |= others
    positions = arrays.pop(QUALITY_POSITIONS, None)
    thumbnails = _pop_thumbnails(arrays)
    try:
        model = build_model(info.family, json.loads(metadata["model"]))
        if positions is not None and model.axis is not None:
            model.axis = replace(model.axis, positions=tuple(map(int, positions)))
        model.load_state_dict(
            {
                name: integers_to_float(torch.from_numpy(array))
                for name, array in arrays.items()
                if not name.startswith(TABLE_PREFIX)
            }
        )
        tables = Tables.from_arrays(
            {
                n.removeprefix(TABLE_PREFIX): a
                for n, a in arrays.items()
                if n.startswith(TABLE_PREFIX)
            }
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise UnknownModelError(
            f"{model_path}: not a weights file of this version: {error}"
        ) from error
    model.prepare()
    losses = json.loads(metadata.get("recipe", "{}")).get("loss") or {}
    weights = {term.name: losses.get(term.name, term.default) for term in fields(Objective)}
    if not losses.get("ssimulacra2") and not losses.get("ms_ssim"):
        weights = {}  # what else a loss may hold is not what effort works for
    model = model.to(memory_format=torch.channels_last)
    is_other = decoder_file != model_path
    return LoadedModel(info, model, tables, Objective(**weights), {} if is_other else thumbnails)


def thumbnail_arrays(thumbnails: Mapping[int, Thumbnail]) -> dict[str, NDArray]:
    """Return maps as tensors of a weights file."""
    return {
        f"{THUMBNAIL_PREFIX}{scale}.{part}": getattr(found, part).numpy().astype(np.float32)
        for scale, found in thumbnails.items()
        for part in ("weight", "bias")
    }


def _pop_thumbnails(arrays: dict[str, NDArray]) -> dict[int, Thumbnail]:
    """Take the maps out of the tensors of a weights file."""
    scales = {name.split(".")[1] for name in arrays if name.startswith(THUMBNAIL_PREFIX)}
    return {
        int(scale): Thumbnail(
            *(
                torch.from_numpy(arrays.pop(f"{THUMBNAIL_PREFIX}{scale}.{part}"))
                for part in ("weight", "bias")
            )
        )
        for scale in scales
    }


def _read_arrays(path: str) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Return tensors and metadata of a file whose hash is right."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UnknownModelError(f"cannot read weights {path}: {error}") from error
    if hash_of_tensors(arrays) != metadata.get("hash"):
        raise UnknownModelError(f"{path}: the tensors do not have the hash of the metadata")
    return arrays, metadata


def stored_arrays(model: CodecModel) -> dict[str, NDArray]:
    """Return the tensors of a prepared model as they are stored (see the module docstring).

    Raises:
        OptionError: an exact tensor does not fit its integers.
    """
    exact = {name for name, _, _ in exact_tensors(model)}
    arrays = {}
    for name, tensor in model.state_dict().items():
        is_short = tensor.ndim == 4
        if name in exact:
            bits, kind = (WEIGHT_BITS, np.int16) if is_short else (BIAS_BITS, np.int32)
            arrays[name] = _float_to_integers(name, tensor, bits, kind)
        else:
            arrays[name] = tensor.numpy().astype(np.float16 if is_short else np.float32)
    return arrays


def _float_to_integers(name: str, tensor: torch.Tensor, bits: int, kind: type) -> NDArray:
    """Return a tensor in units of 2**-bits."""
    units = tensor.double().numpy() * 2.0**bits
    if np.any(units != np.round(units)) or np.abs(units).max() > np.iinfo(kind).max:
        raise OptionError(f"{name} does not lie on its grid")
    return units.astype(kind)


def integers_to_float(tensor: torch.Tensor) -> torch.Tensor:
    """Return a stored tensor as float32, integers in their units (see the module docstring)."""
    if tensor.dtype == torch.int16:
        return tensor.float() * 2.0**-WEIGHT_BITS
    if tensor.dtype == torch.int32:
        return (tensor.double() * 2.0**-BIAS_BITS).float()
    return tensor.float()
