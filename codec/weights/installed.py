"""Weights files without their tensors: what is installed, found by name or by hash.

Nothing here needs torch, so that questions about models and files are answered at once.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from imgcodec.codec.errors import UnknownModelError

WEIGHTS_DIR = Path(__file__).resolve().parent
IDS_FILE = WEIGHTS_DIR / "ids.json"
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


def read_ids() -> dict[str, dict[str, str]]:
    """Return what is pinned of every id that ever had weights here, installed or not.

    Entries have the `hash` of the tensors and, where an id was given up before any release, why it
    was `withdrawn`. Ids are only ever added.
    """
    ids: dict[str, dict[str, str]] = json.loads(IDS_FILE.read_text(encoding="utf-8"))
    return ids


def list_models() -> list[ModelInfo]:
    """Return the models whose weights are installed with the package, by id."""
    return [read_info(path) for path in _installed()]


def _installed() -> list[Path]:
    paths = sorted(WEIGHTS_DIR.glob("*.safetensors"))
    return [path for path in paths if "." not in path.stem]


def find_model(name: str | os.PathLike[str]) -> ModelInfo:
    """Return the model of a family name (its newest), an id, or a path to a weights file.

    Raises:
        UnknownModelError: nothing fits.
    """
    if str(name).endswith(".safetensors"):
        return read_info(Path(name))
    ids = [path.stem for path in _installed()]
    fitting = [i for i in ids if i == name] or [i for i in ids if i.partition("-")[0] == name]
    if not fitting:
        known = ", ".join(ids) or "none installed"
        raise UnknownModelError(f"no model '{name}'; known: {known}")
    newest = max(fitting, key=lambda i: int(i.rpartition("-")[2]))
    return read_info(WEIGHTS_DIR / f"{newest}.safetensors")


def find_model_of_stream(
    stream_hash: bytes, name: str | os.PathLike[str] | None = None
) -> ModelInfo:
    """Return the model that wrote a stream, among those installed and the file `name`.

    Raises:
        UnknownModelError: none has the hash.
    """
    if name is None:
        for model_id, pinned in read_ids().items():
            path = WEIGHTS_DIR / f"{model_id}.safetensors"
            if bytes.fromhex(pinned["hash"])[:HASH_BYTES] == stream_hash and path.exists():
                return read_info(path)
    models = list_models() if name is None else [find_model(name)]
    for model in models:
        if bytes.fromhex(model.hash)[:HASH_BYTES] == stream_hash:
            return model
    known = ", ".join(f"{m.id} ({m.hash[: 2 * HASH_BYTES]})" for m in models) or "none"
    raise UnknownModelError(
        f"the stream was made by a model with hash {stream_hash.hex()}; available: {known}"
    )


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
            recipe = json.loads(_metadata_of(path).get("recipe", "{}"))
            losses = recipe.get("loss") or {}
        except (OSError, SafetensorError, ValueError, AttributeError) as error:
            raise UnknownModelError(f"cannot read the recipe of {path}: {error}") from error
        terms |= {
            name for name, weight in losses.items() if isinstance(weight, int | float) and weight
        }
    return frozenset(terms)


def decoder_hash(info: ModelInfo, decoder: str) -> str:
    """Return the hash of a model, or of its further decoder, which files do not name.

    Raises:
        UnknownModelError: the file of the decoder cannot be read.
    """
    if decoder == FIDELITY:
        return info.hash
    path = decoder_path(info.path, decoder)
    try:
        return str(_metadata_of(path)["hash"])
    except (OSError, SafetensorError, KeyError) as error:
        raise UnknownModelError(f"cannot read the decoder {path}: {error}") from error


def _metadata_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def decoder_path(model: Path, decoder: str) -> Path:
    """Return where a further decoder of a weights file lies."""
    return model.with_name(f"{model.stem}.{decoder}.safetensors")


def model_of_decoder(decoder: Path) -> Path:
    """Return where the weights file lies that a further decoder belongs to."""
    return decoder.with_name(decoder.name.split(".")[0] + ".safetensors")


def read_info(path: Path) -> ModelInfo:
    """Return what a weights file says of itself.

    Raises:
        UnknownModelError: it cannot be read, or is none.
    """
    try:
        metadata = _metadata_of(path)
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
