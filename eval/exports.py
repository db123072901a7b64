"""Runs in the schemas of others: CompressAI's result JSON and codec-compare's batches.

Sources: InterDigitalInc/CompressAI, results/; webmproject/codec-compare, README ("Plug data at
serve time").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgcodec.codec.files import write_atomically
from imgcodec.eval.quality import QUALITIES
from imgcodec.eval.results import ResultsError, summarise

if TYPE_CHECKING:
    import pandas as pd

# CompressAI key: our column.
_COMPRESSAI_COLUMNS = {
    "bpp": "bpp",
    **{quality.name: quality.column for quality in QUALITIES},
    "encoding_time": "encode_s",
    "decoding_time": "decode_s",
}
# codec-compare field: (our column, description).
_COMPARE_FIELDS = {
    "original_name": ("image", "Original image file name"),
    "encoded_name": ("", "Encoded image file name"),
    "quality": ("setting", "Compression quality parameter"),
    "width": ("width", "Pixel columns in the image that was encoded"),
    "height": ("height", "Pixel rows in the image that was encoded"),
    "encoded_size": ("bytes", "Size of the encoded image file in bytes"),
    "encoding_time": ("encode_s", "Encoding duration in seconds"),
    "decoding_time": ("decode_s", "Decoding duration in seconds"),
    **{
        quality.column.replace("_", ""): (
            quality.column,
            f"Distortion metric {quality.title}. See {quality.source}",
        )
        for quality in QUALITIES
    },
}


def export_compressai(frame: pd.DataFrame, codecs: Mapping[str, str], folder: Path) -> list[Path]:
    """Write one CompressAI result file per codec and return their paths.

    Args:
        frame: rows table.
        codecs: codec name to description.
        folder: where to write; made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = summarise(frame)
    paths = []
    for codec in table["codec"].unique():
        part = table[table["codec"] == codec]
        results = {
            key: [float(value) for value in part[column]]
            for key, column in _COMPRESSAI_COLUMNS.items()
            if part[column].notna().all()
        }
        document = {"name": codec, "description": codecs.get(codec, codec), "results": results}
        paths.append(_write_json(folder / f"{_file_name(codec)}.json", document))
    return paths


def export_codec_compare(
    frame: pd.DataFrame, codecs: Mapping[str, str], folder: Path
) -> list[Path]:
    """Write one codec-compare batch per codec and `batches.json`, which lists them.

    Arguments as in `export_compressai`. Settings become the number that follows their `=`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    good = frame[frame["status"] == "ok"]
    fields = {
        name: (column, text)
        for name, (column, text) in _COMPARE_FIELDS.items()
        if not column or good[column].notna().all()
    }
    paths = []
    for codec in good["codec"].unique():
        part = good[good["codec"] == codec]
        constants = {
            "name": ("Name of this experiment", f"{codec} on {part['dataset'].iloc[0]}"),
            "codec": ("Name of the codec used to generate this data", codec),
            "version": (
                "Version of the codec used to generate this data",
                codecs.get(codec, "unknown"),
            ),
            "time": (
                "Timestamp of when this data was generated",
                datetime.now(timezone.utc).isoformat(timespec="seconds"),
            ),
            "source_data_set": (
                "The origin of the images used as input",
                str(part["dataset"].iloc[0]),
            ),
        }
        document = {
            "constant_descriptions": [{name: text} for name, (text, _) in constants.items()],
            "constant_values": [value for _, value in constants.values()],
            "field_descriptions": [{name: text} for name, (_, text) in fields.items()],
            "field_values": [
                [_compare_value(name, column, row) for name, (column, _) in fields.items()]
                for row in part.to_dict("records")
            ],
        }
        paths.append(_write_json(folder / f"{_file_name(codec)}.json", document))
    _write_json(folder / "batches.json", [[path.name] for path in paths])
    return paths


def load_overlay(path: Path, dataset: str = "") -> dict[str, list[dict[str, float]]]:
    """Return published curves as name to points, each a mapping with `bpp` and metrics.

    Understands a CompressAI result file (`{"name", "results": {metric: [...]}}`), a list of
    such, a collection of curves (`{name: [{"bpp": ..., "psnr": ...}, ...]}`), and collections
    grouped by dataset (`{dataset: {name: [...]}}`), of which one group is taken. Names that begin
    with an underscore are left out.

    Args:
        path: JSON file.
        dataset: group to take from a file that is grouped.

    Raises:
        ResultsError: the file is missing, holds none of these, or lacks the group.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"overlay {path} cannot be read: {error}") from error
    except ValueError as error:
        raise ResultsError(f"overlay {path} is not JSON: {error}") from error
    curves = _curves_of(_group_of(document, dataset, path), path.stem)
    if not curves:
        raise ResultsError(
            f"overlay {path} holds no curves: expected CompressAI's JSON "
            '({"name": ..., "results": {"bpp": [...], "psnr": [...]}})'
        )
    return curves


def _group_of(document: Any, dataset: str, path: Path) -> Any:
    if not isinstance(document, dict) or "results" in document:
        return document
    groups = {k: v for k, v in document.items() if isinstance(v, dict) and "results" not in v}
    if not groups:
        return document
    if dataset not in groups:
        raise ResultsError(
            f"overlay {path} has curves of {', '.join(groups)}, none of {dataset or 'this dataset'}"
        )
    return groups[dataset]


def _curves_of(document: Any, name: str) -> dict[str, list[dict[str, float]]]:
    curves: dict[str, list[dict[str, float]]] = {}
    if isinstance(document, list) and _is_points(document):
        return {name: [_numbers(point) for point in document]}
    if isinstance(document, list):
        for entry in document:
            curves.update(_curves_of(entry, name))
    elif isinstance(document, dict) and isinstance(document.get("results"), dict):
        columns = {k: v for k, v in document["results"].items() if isinstance(v, list)}
        if "bpp" in columns:
            length = min(len(values) for values in columns.values())
            curves[str(document.get("name", name))] = [
                _numbers({key: values[index] for key, values in columns.items()})
                for index in range(length)
            ]
    elif isinstance(document, dict):
        for key, value in document.items():
            if not key.startswith("_"):
                curves.update(_curves_of(value, key))
    return curves


def _is_points(document: Sequence[Any]) -> bool:
    return bool(document) and all(
        isinstance(point, dict) and isinstance(point.get("bpp"), int | float) for point in document
    )


def _numbers(point: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in point.items() if isinstance(value, int | float)}


def _compare_value(field: str, column: str, row: Mapping[Any, Any]) -> Any:
    if field == "encoded_name":
        return f"{Path(str(row['image'])).stem}_{row['codec']}_{row['setting']}"
    value = row[column]
    if field == "quality":
        number = str(value).rpartition("=")[2]
        try:
            return float(number)
        except ValueError:
            return str(value)
    if isinstance(value, str):
        return value
    if field in ("width", "height", "encoded_size"):
        return int(value)
    # JSON has no infinity: a lossless picture counts as 100 dB.
    return float(value) if math.isfinite(value) else 100.0


def _file_name(codec: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in codec)


def _write_json(path: Path, document: Any) -> Path:
    write_atomically(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return path
