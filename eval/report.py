"""The self-contained `report.html` of a run: curves, BD-rates and pictures, from disk, offline.

Numbers are computed here; the page's script only draws them. Needs pandas and bjontegaard (the
`eval` extra).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from imgcodec.codec.errors import CodecError
from imgcodec.eval import pictures
from imgcodec.eval.anchors.base import ImageCodec
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.curves import Overlays, usable_rows
from imgcodec.eval.page import write_page
from imgcodec.eval.report_data import page_data, rounded
from imgcodec.eval.style import codec_order

logger = logging.getLogger(__name__)

BUDGET_BYTES = 21_000_000
NUM_PICTURES = 12


def write_report(
    rows: pd.DataFrame,
    path: str | Path,
    dataset_images: Mapping[str, str | Path] | None = None,
    overlays: Overlays | None = None,
    *,
    codecs: Sequence[ImageCodec] | None = None,
    notes: Sequence[str] = (),
    num_pictures: int = NUM_PICTURES,
    budget_bytes: int = BUDGET_BYTES,
) -> Path:
    """Write the page of a run; it needs no other file and no network.

    For the comparison slider some images are coded again, at sizes matched as closely as each
    codec permits; the curves and tables come from the rows alone.

    Args:
        rows: rows table of a run (see the module `imgcodec.eval.runner`).
        path: HTML file to write, through a temporary name.
        dataset_images: image name to file; without it the page has no slider.
        overlays: published curves, name to points with `bpp` and metric keys.
        codecs: the codecs of the run; default: those that the registry knows by name.
        notes: sentences to show, such as how metrics were computed and on which machine.
        num_pictures: how many images the slider offers at most.
        budget_bytes: size that all embedded pictures together stay below.

    Raises:
        ValueError: no row succeeded.
    """
    usable = usable_rows(rows)
    if usable.empty:
        raise ValueError("no row of this run succeeded: there is nothing to report")
    by_name = _resolve_codecs(usable, codecs)
    data = page_data(rows, overlays or {}, by_name)
    data["notes"] = list(notes)
    data["viewer"] = _viewer(usable, dataset_images or {}, by_name, num_pictures, budget_bytes)
    title = f"imgcodec benchmark: {data['dataset']}"
    return write_page("report.html", ("chart.js", "viewer.js", "report.js"), title, data, path)


def _resolve_codecs(
    rows: pd.DataFrame, codecs: Sequence[ImageCodec] | None
) -> dict[str, ImageCodec]:
    """Return the codecs by name; one that cannot be had is left out and logged."""
    if codecs is not None:
        return {codec.name: codec for codec in codecs}
    found = {}
    for name in codec_order([str(value) for value in rows["codec"].unique()]):
        try:
            found[name] = get_codec(name)
        except (CodecError, OSError) as error:
            logger.warning("report: no pictures of %s: %s", name, error)
    return found


def _viewer(
    rows: pd.DataFrame,
    dataset_images: Mapping[str, str | Path],
    codecs: Mapping[str, ImageCodec],
    num_pictures: int,
    budget_bytes: int,
) -> dict[str, Any] | None:
    """Return the data of the comparison slider, None when no picture can be made."""
    names = [name for name in codec_order(list(rows["codec"].unique())) if name in codecs]
    chosen = pictures.choose_images(rows, list(dataset_images), num_pictures)
    if not names or not chosen:
        return None
    rates = pictures.choose_rates(rows)
    entries = []
    for name in chosen:
        logger.info("report: pictures of %s", name)
        rgb = pictures.read_rgb(dataset_images[name])
        part = rows[rows["image"] == name]
        levels = pictures.shoot_image(part, rgb, [codecs[codec] for codec in names], rates)
        entry = pictures.embed_image(rgb, levels, budget_bytes / len(chosen))
        entry["worstDb"] = rounded(entry["worstDb"])
        entries.append({"name": name, "height": rgb.shape[0], "width": rgb.shape[1], **entry})
    shown = {codec for entry in entries for level in entry["levels"] for codec in level}
    return {
        "rates": rates,
        "codecs": [name for name in names if name in shown],
        "images": entries,
        "note": _embedding_note(entries, rows["image"].nunique()),
    }


def _embedding_note(entries: Sequence[Mapping[str, Any]], num_images: int) -> str:
    """Say in words how the pictures got into the page."""
    sentences = [
        f"{len(entries)} of {num_images} images, evenly spread from the easiest to the hardest "
        "to compress. Each codec coded them again at the setting whose file comes nearest to the "
        "chosen rate; the numbers under a picture are those of that file."
    ]
    shown = [shot for entry in entries for level in entry["levels"] for shot in level.values()]
    if any(shot["isFile"] for shot in shown):
        sentences.append(
            "JPEG, WebP and AVIF are embedded as the coded files themselves and decoded by your "
            "browser."
        )
    worst = [entry["worstDb"] for entry in entries if entry["worstDb"] is not None]
    if worst:
        low, high = (f(entry["quality"] for entry in entries) for f in (min, max))
        quality = f"{low}" if low == high else f"{low} to {high}"
        sentences.append(
            f"The others are decoded here and embedded in high quality (AVIF 4:4:4, quality "
            f"{quality}, where Pillow writes it, else JPEG): at least {min(worst):.1f} dB from "
            "the true decoder output."
        )
    if any(not entry["isWhole"] for entry in entries):
        sentences.append(
            "Large images are shown as a window at full resolution, placed where the detail is; "
            "bytes and PSNR are those of the whole image."
        )
    return " ".join(sentences)
