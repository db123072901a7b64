"""Weights files: safetensors with metadata, found in the package, checked and loaded once.

Tensors are float16 or float32, but everything that table rows depend on is integer: int16 in
units of 2**-12 (weights of the exact networks), int32 in units of 2**-20 (their biases and the
log-scales). The hash in a file's metadata is the SHA-256 of names, types, shapes and bytes of all
tensors; streams carry its first four bytes.

Further decoders of a model are files beside it, ``<id>.<decoder>.safetensors``: other tensors for
the synthesis alone, bound to the hash of the model. Streams know nothing of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from imgcodec.codec.entropy.tables import Tables
from imgcodec.codec.errors import OptionError, UnknownModelError
from imgcodec.codec.models.base import CodecModel
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.nets.exact import BIAS_BITS, WEIGHT_BITS
from imgcodec.codec.nets.objective import Objective

WEIGHTS_DIR = Path(__file__).resolve().parent.parent / "weights"
IDS_FILE = WEIGHTS_DIR / "ids.json"
QUALITY_POSITIONS = "quality.positions"
"""Tensor of the calibrated quality scale, if there is one; see `nets.rate.RateAxis`."""
TABLE_PREFIX = "tables."
HASH_BYTES = 4
FIDELITY = "fidelity"
"""The decoder inside a model's own file."""


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a weights file without loading its tensors.

    Attributes:
        id: such as "beta-base-1".
        family: such as "beta".
        hash: SHA-256 of the tensors, hexadecimal.
        params: number of parameters.
        kmac_encode: thousand multiply-adds per pixel of encoding, entropy model included.
        kmac_decode: the same of decoding.
        bytes: size of the file.
        licence: licence of the weights.
        provenance: what they were trained on.
        runs: the training runs behind them, oldest first, as far as they are recorded.
        path: the file.
        decoders: names of its decoders, "fidelity" first.
    """

    id: str
    family: str
    hash: str
    params: int
    kmac_encode: float
    kmac_decode: float
    bytes: int
    licence: str
    provenance: str
    runs: tuple[dict[str, Any], ...]
    path: Path
    decoders: tuple[str, ...]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for coding, with its tables and what it was trained for."""

    info: ModelInfo
    model: CodecModel
    tables: Tables
    objective: Objective

    @property
    def stream_hash(self) -> bytes:
        """Return the four bytes that streams carry."""
        return bytes.fromhex(self.info.hash)[:HASH_BYTES]


def read_ids() -> dict[str, dict[str, str]]:
    """Return what is pinned of every id that ever had weights here, installed or not.

    Entries have the `hash` of the tensors and, where an id was given up before any release, why it
    was `withdrawn`. Ids are only ever added.
    """
    ids: dict[str, dict[str, str]] = json.loads(IDS_FILE.read_text(encoding="utf-8"))
    return ids


def list_models() -> list[ModelInfo]:
    """Return the models whose weights are installed with the package, by id."""
    return [_read_info(path) for path in _installed()]


def _installed() -> list[Path]:
    paths = sorted(WEIGHTS_DIR.glob("*.safetensors"))
    return [path for path in paths if "." not in path.stem]


def find_model(name: str | Path) -> ModelInfo:
    """Return the model of a family name (its newest), an id, or a path to a weights file.

    Raises:
        UnknownModelError: nothing fits.
    """
    if str(name).endswith(".safetensors"):
        return _read_info(Path(name))
    ids = [path.stem for path in _installed()]
    fitting = [i for i in ids if i == name] or [i for i in ids if i.partition("-")[0] == name]
    if not fitting:
        known = ", ".join(ids) or "none installed"
        raise UnknownModelError(f"no model '{name}'; known: {known}")
    newest = max(fitting, key=lambda i: int(i.rpartition("-")[2]))
    return _read_info(WEIGHTS_DIR / f"{newest}.safetensors")


TUNES = {"eye": "beta-base-3", "psnr": "beta-base-2"}
"""What the shipped weights of the default family were trained for, and which they are."""


def model_of_tune(tune: str) -> str:
    """Return the id of the weights of a tune.

    Raises:
        OptionError: there is no such tune.
    """
    if tune not in TUNES:
        raise OptionError(f"tune must be one of {', '.join(TUNES)}, not {tune!r}")
    return TUNES[tune]


def find_model_of_stream(stream_hash: bytes, name: str | Path | None = None) -> ModelInfo:
    """Return the model that wrote a stream, among those installed and the file `name`.

    Raises:
        UnknownModelError: none has the hash.
    """
    if name is None:
        for model_id, pinned in read_ids().items():
            path = WEIGHTS_DIR / f"{model_id}.safetensors"
            if bytes.fromhex(pinned["hash"])[:HASH_BYTES] == stream_hash and path.exists():
                return _read_info(path)
    models = list_models() if name is None else [find_model(name)]
    for model in models:
        if bytes.fromhex(model.hash)[:HASH_BYTES] == stream_hash:
            return model
    known = ", ".join(f"{m.id} ({m.hash[: 2 * HASH_BYTES]})" for m in models) or "none"
    raise UnknownModelError(
        f"the stream was made by a model with hash {stream_hash.hex()}; available: {known}"
    )


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


def trained_losses(info: ModelInfo, decoder: str = FIDELITY) -> frozenset[str]:
    """Return the terms that had a weight in the loss of a model, or of its further decoder.

    They are those of the recipes in the files (`loss` section): of the last training run of each.
    A further decoder adds its own to those of the encoder.

    Raises:
        UnknownModelError: a file cannot be read.
    """
    paths = {info.path, info.path if decoder == FIDELITY else decoder_path(info.path, decoder)}
    terms: set[str] = set()
    for path in paths:
        try:
            with safe_open(path, "numpy") as file:
                recipe = json.loads((file.metadata() or {}).get("recipe", "{}"))
            losses = recipe.get("loss") or {}
        except (OSError, SafetensorError, ValueError, AttributeError) as error:
            raise UnknownModelError(f"cannot read the recipe of {path}: {error}") from error
        terms |= {
            name for name, weight in losses.items() if isinstance(weight, int | float) and weight
        }
    return frozenset(terms)


def decoder_path(model: Path, decoder: str) -> Path:
    """Return where a further decoder of a weights file lies."""
    return model.with_name(f"{model.stem}.{decoder}.safetensors")


def model_of_decoder(decoder: Path) -> Path:
    """Return where the weights file lies that a further decoder belongs to."""
    return decoder.with_name(decoder.name.split(".")[0] + ".safetensors")


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
    info = _read_info(Path(model_path))
    arrays, metadata = _read_arrays(model_path)
    if decoder_file != model_path:
        others, details = _read_arrays(decoder_file)
        if details.get("model_hash") != info.hash:
            raise UnknownModelError(f"{decoder_file} belongs to other weights than {info.id}")
        if not set(others) <= set(arrays):
            raise UnknownModelError(f"{decoder_file} has tensors that {info.id} lacks")
        arrays |= others
    positions = arrays.pop(QUALITY_POSITIONS, None)
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
    weights = {field.name: losses.get(field.name, field.default) for field in fields(Objective)}
    if not losses.get("ssimulacra2") and not losses.get("ms_ssim"):
        weights = {}  # what else a loss may hold is not what effort works for
    model = model.to(memory_format=torch.channels_last)
    return LoadedModel(info, model, tables, Objective(**weights))


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


def integers_to_float(tensor: torch.Tensor) -> torch.Tensor:
    """Return a stored tensor as float32, integers in their units (see the module docstring)."""
    if tensor.dtype == torch.int16:
        return tensor.float() * 2.0**-WEIGHT_BITS
    if tensor.dtype == torch.int32:
        return (tensor.double() * 2.0**-BIAS_BITS).float()
    return tensor.float()


def _read_info(path: Path) -> ModelInfo:
    try:
        with safe_open(path, "numpy") as file:
            metadata: dict[str, Any] = file.metadata() or {}
        return ModelInfo(
            id=metadata["id"],
            family=metadata["family"],
            hash=metadata["hash"],
            params=int(metadata["params"]),
            kmac_encode=float(metadata["kmac_encode"]),
            kmac_decode=float(metadata["kmac_decode"]),
            bytes=path.stat().st_size,
            licence=metadata["licence"],
            provenance=metadata["provenance"],
            runs=tuple(json.loads(metadata.get("runs", "[]"))),
            path=path,
            decoders=(FIDELITY, *_further_decoders(path)),
        )
    except (OSError, SafetensorError) as error:
        raise UnknownModelError(f"cannot read weights {path}: {error}") from error
    except (KeyError, ValueError) as error:
        raise UnknownModelError(
            f"{path}: no exported weights (missing or bad metadata: {error}); "
            "`imgcodec export` makes them from a training run"
        ) from error


def _further_decoders(model: Path) -> list[str]:
    files = sorted(model.parent.glob(f"{model.stem}.*.safetensors"))
    return [file.name.removeprefix(f"{model.stem}.").removesuffix(".safetensors") for file in files]
