"""From a training run to the weights that ship: snapped, measured tables, hash, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.coders import Block, Count
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.models.complexity import kmac_per_pixel
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.models.stored import integers_to_float, stored_arrays
from imgcodec.codec.session.tiling import analyse_whole
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.training.calibration import calibrate_quality
from imgcodec.codec.training.checkpoint import (
    load_initial_weights,
    metadata_of_weights,
    open_weights,
    runs_of_weights,
)
from imgcodec.codec.training.thumbnails import fit_thumbnails
from imgcodec.codec.weights.store import (
    QUALITY_POSITIONS,
    TABLE_PREFIX,
    do_share_integers,
    hash_of_tensors,
    thumbnail_arrays,
)

LICENCE = "MIT"
CALIBRATION_QUALITIES = (1, 15, 30, 45, 60, 75, 90, 100)
CALIBRATION_SIDE_PX = 512
CALIBRATION_ROUNDS = 2
"""The encoder's rounding follows the tables, and the tables follow its rounding."""
TABLE_STRENGTH = 200.0
"""Pseudo-counts of the prior in every measured row."""
FLOAT16_ERROR = 2e-3
"""What storing weights in half precision may change."""


def export(
    ema: Path,
    out: Path,
    *,
    pictures: Iterable[NDArray[np.uint8]] = (),
    provenance: str,
    licence: str = LICENCE,
    name: str | None = None,
) -> dict[str, float]:
    """Write the weights file that the codec loads.

    Args:
        ema: ema.safetensors of a training run.
        out: target, ``<id>.safetensors``.
        pictures: RGB uint8 arrays on which tables are measured, the quality scale calibrated and
            the maps of thumbnails fitted; none keeps the default tables, an even scale, no maps.
        provenance: what the model was trained on, for the metadata.
        licence: licence of the weights, for the metadata.
        name: model id; by default the recipe's.

    Returns:
        bits of the calibration pictures under default and under measured tables, if any.

    Raises:
        UnknownModelError: `ema` holds no weights of a training run.
        OptionError: they do not fit their recipe.
    """
    metadata = metadata_of_weights(ema)
    recipe = json.loads(metadata["recipe"])
    model = build_model(recipe["family"], recipe["model"])
    load_initial_weights(model, ema)
    params = sum(parameter.numel() for parameter in model.parameters())
    tables = model.default_tables()
    model.prepare()
    arrays = stored_arrays(model)
    # What is measured must be what is shipped: in half precision where that is stored.
    model.load_state_dict({name: _as_float(array) for name, array in arrays.items()})
    coded = as_codec(model)
    report: dict[str, float] = {}
    sample = list(pictures)
    if sample:
        prior = tables
        _, report["bits_with_default_tables"] = count_symbols(coded, sample, prior)
        for _ in range(CALIBRATION_ROUNDS):
            counts, _ = count_symbols(coded, sample, tables)
            tables = Tables.from_histograms(counts, prior, TABLE_STRENGTH)
        _, report["bits_with_measured_tables"] = count_symbols(coded, sample, tables)
    if sample and model.axis is not None:
        positions, _ = calibrate_quality(coded, tables, sample)
        arrays[QUALITY_POSITIONS] = np.array(positions, np.int32)
    arrays |= {TABLE_PREFIX + key: value for key, value in tables.to_arrays().items()}
    if sample:
        arrays |= thumbnail_arrays(fit_thumbnails(coded, tables, sample))
    encode_kmac, decode_kmac = kmac_per_pixel(model)
    details = {
        "id": name or recipe["name"],
        "family": recipe["family"],
        "hash": hash_of_tensors(arrays),
        "model": json.dumps(recipe["model"]),
        "recipe": metadata["recipe"],
        "step": metadata["step"],
        "runs": json.dumps(runs_of_weights(ema)),
        "params": str(params),
        "kmac_encode": f"{encode_kmac:.2f}",
        "kmac_decode": f"{decode_kmac:.2f}",
        "licence": licence,
        "provenance": provenance,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    save_file(arrays, temporary, details)
    temporary.replace(out)
    return report


def export_decoder(
    ema: Path, out: Path, model: Path, *, provenance: str, licence: str = LICENCE
) -> None:
    """Write a further decoder of a model: the tensors that its synthesis alone uses.

    Args:
        ema: ema.safetensors of a run that trained the decoder of `model` (`train.only: decoder`).
        out: target, ``<id of the model>.<decoder>.safetensors`` beside the model.
        model: weights file of the model.
        provenance, licence: for the metadata.

    Raises:
        OptionError: the run changed more than the decoder.
    """
    base = metadata_of_weights(model)
    with open_weights(model, "numpy") as file:
        base_arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata = metadata_of_weights(ema)
    recipe = json.loads(metadata["recipe"])
    if "model" not in base or "hash" not in base:
        raise OptionError(f"{model} is not exported")
    if not do_share_integers(base["model"], json.dumps(recipe["model"])):
        raise OptionError(f"{ema} and {model} have other sizes")
    trained = build_model(recipe["family"], recipe["model"])
    load_initial_weights(trained, ema)
    trained.prepare()
    stored, arrays = stored_arrays(trained), {}
    for name, tensor in trained.state_dict().items():
        if name.startswith(trained.decoder_prefixes):
            arrays[name] = stored[name]
            continue
        own = base_arrays.get(name)
        is_same = own is not None and own.shape == tensor.shape
        if not (is_same and torch.allclose(tensor.float(), _as_float(own), atol=FLOAT16_ERROR)):
            raise OptionError(f"{ema} differs from {model} in {name}, not in the decoder alone")
    details = {
        "decoder": out.name.split(".")[-2],
        "model_hash": base["hash"],
        "model": json.dumps(recipe["model"]),
        "hash": hash_of_tensors(arrays),
        "recipe": metadata["recipe"],
        "step": metadata["step"],
        "runs": json.dumps(runs_of_weights(ema)),
        "licence": licence,
        "provenance": provenance,
    }
    temporary = out.with_suffix(".tmp")
    save_file(arrays, temporary, details)
    temporary.replace(out)


def _as_float(array: NDArray) -> torch.Tensor:
    return integers_to_float(torch.from_numpy(array))


def count_symbols(
    model: CodecModel, pictures: list[NDArray[np.uint8]], tables: Tables
) -> tuple[NDArray[np.int64], float]:
    """Return the histogram of symbols over all pictures and qualities, and their bits."""
    counts = np.zeros(tables.frequencies.shape, np.int64)
    stride = model.stride_px

    def observe(block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32]) -> None:
        counts[:] += tables.count(q, indexes)

    coder = Count(tables, observe=observe)
    for number, picture in enumerate(pictures):
        height, width = (min(s, CALIBRATION_SIDE_PX) // stride * stride for s in picture.shape[:2])
        quality = CALIBRATION_QUALITIES[number % len(CALIBRATION_QUALITIES)]
        y = analyse_whole(model, picture[:height, :width], quality)
        model.code((y.shape[2], y.shape[3]), quality, coder, y)
    return counts, coder.bits
