"""Models with levels over a data set: what the choice of the allocation saves, what levels show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgcodec.codec import api
from imgcodec.codec.files import write_atomically
from imgcodec.codec.options import AUTO, EQUAL
from imgcodec.codec.picture.write import write_image
from imgcodec.codec.previews import Preview, preview
from imgcodec.codec.session.allocation import allocation_of, rate_weight
from imgcodec.codec.session.targets import psnr_db
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.datasets.images import ImageDataset, readable_images
from imgcodec.eval.anchors.base import RgbArray
from imgcodec.eval.results import write_csv
from imgcodec.eval.steps import steps_sheet


@dataclasses.dataclass(frozen=True)
class LevelRow:
    """One image with one allocation of its bits.

    Attributes:
        image: name of the image.
        allocation: as `imgcodec.encode` takes it in `level_bits`.
        cost: bits per pixel of the file + lambda * squared error, what training minimises.
        bytes: of the file up to the end of each level.
        bpp: the same in bits per pixel.
        psnr: of the picture after each level, in dB.
    """

    image: str
    allocation: str
    cost: float
    bytes: tuple[int, ...]
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]


def measure_levels(
    dataset: ImageDataset,
    model: str,
    quality: int,
    allocations: Sequence[str],
    report: Callable[[str], None],
) -> Iterator[LevelRow]:
    """Yield a row per image and allocation, from real files that are decoded level by level.

    Args:
        dataset: the images.
        model: family, id or path of a model with levels.
        quality: 1 to 100.
        allocations: what to compare.
        report: receives a line per image.

    Raises:
        OptionError: the model has no levels, or an allocation does not fit it.
    """
    loaded = load_model(find_model(model))
    for allocation in (AUTO, *allocations):
        allocation_of(loaded.model, allocation)
    weight = rate_weight(loaded.model, quality)
    for index, name, rgb in readable_images(dataset, report):
        for allocation in allocations:
            steps = _steps(rgb, model, quality, allocation)
            bits = [step.bpp for step in steps]
            pictures = [np.asarray(step.image.convert("RGB")) for step in steps]
            error = float(np.square(rgb.astype(np.float64) - pictures[-1]).mean())
            yield LevelRow(
                image=name,
                allocation=allocation,
                cost=bits[-1] + weight * error,
                bytes=tuple(step.num_bytes for step in steps),
                bpp=tuple(bits),
                psnr=tuple(psnr_db(rgb, picture) for picture in pictures),
            )
        report(f"{name}: {index + 1} of {len(dataset.image_names)}")


def summarise_levels(rows: Sequence[LevelRow]) -> list[dict[str, Any]]:
    """Return means over the images, a record per allocation.

    `saved` is the mean over images of the share of the cost that the allocation saves against the
    first one, `better` the number of images where it saves any; `first_share` is the share of the
    first level in the bytes of the file, with all that comes before it.
    """
    numbers = range(1, len(rows[0].bytes) + 1)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in _records(rows):
        groups.setdefault(row["allocation"], []).append(row)
    records = []
    for name, group in groups.items():

        def mean(column: str, group: list[dict[str, Any]] = group) -> float:
            return sum(row[column] for row in group) / len(group)

        record: dict[str, Any] = {
            "allocation": name,
            "images": len(group),
            "cost": mean("cost"),
            "saved": mean("saved"),
            "better": sum(row["saved"] > 0 for row in group),
            "first_share": mean("first_share"),
        }
        for level in numbers:
            record |= {column: mean(column) for column in (f"bpp_{level}", f"psnr_{level}")}
        records.append(record)
    return records


def write_levels(
    rows: Sequence[LevelRow], folder: Path, title: str, figure: Image.Image | None = None
) -> None:
    """Write levels.csv (a line per row), levels.md (the means) and levels.png into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "levels.csv", _records(rows))
    write_atomically(folder / "levels.md", levels_markdown(rows, title).encode())
    if figure is not None:
        write_image(figure, folder / "levels.png", format="PNG")


def _records(rows: Sequence[LevelRow]) -> list[dict[str, Any]]:
    """Return rows as records, with shares: `saved` of the cost of the image's first allocation."""
    first: dict[str, float] = {}
    records = []
    for row in rows:
        record: dict[str, Any] = {
            "image": row.image,
            "allocation": row.allocation,
            "cost": row.cost,
            "saved": 1 - row.cost / first.setdefault(row.image, row.cost),
            "first_share": row.bytes[0] / row.bytes[-1],
        }
        for name in ("bytes", "bpp", "psnr"):
            values = enumerate(getattr(row, name), start=1)
            record |= {f"{name}_{level}": value for level, value in values}
        records.append(record)
    return records


def levels_markdown(rows: Sequence[LevelRow], title: str) -> str:
    """Return the means over the images as a table in Markdown."""
    records = summarise_levels(rows)
    columns = list(records[0])
    lines = [f"# {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(cells(record))} |" for record in records]
    return "\n".join(lines) + "\n"


def cells(record: dict[str, Any]) -> list[str]:
    """Return a record of `summarise_levels` as text."""
    digits = {"cost": ".4f", "saved": ".2%", "first_share": ".1%"}
    return [
        format(value, digits.get(name, ".4f" if name.startswith("bpp") else ".2f"))
        if isinstance(value, float)
        else str(value)
        for name, value in record.items()
    ]


def levels_figure(rgb: RgbArray, model: str, quality: int) -> Image.Image:
    """Return the original and the picture after each level, with bpp and PSNR, as one picture."""
    return steps_sheet(_steps(rgb, model, quality, EQUAL), rgb)


def _steps(rgb: RgbArray, model: str, quality: int, allocation: str) -> list[Preview]:
    data = api.encode(rgb, model=model, quality=quality, level_bits=allocation)
    return list(preview(data, model=find_model(model).path))
