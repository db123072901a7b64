"""Rows of a run that was never made, for what reads rows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgcodec.eval.results import COLUMNS, read_rows, write_csv

if TYPE_CHECKING:
    import pandas as pd

NUM_STEPS = 5


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as they are read back from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        write_csv(path, [dict.fromkeys(COLUMNS, "") | row for row in rows])
        return read_rows(path)


def ladder(
    codec: str,
    scale: float,
    values: Callable[[int], dict[str, float]],
    images: str = "ab",
    image_scale: Callable[[str], float] = lambda image: 1.0,
) -> list[dict[str, Any]]:
    """Return rows of a codec: each step takes twice the bits of the one before.

    Args:
        codec: its name.
        scale: of all rates, 1 for 0.1 bpp at the first step.
        values: metrics of a step, by column.
        images: their names, a letter each.
        image_scale: of the rates of an image.
    """
    return [
        {
            "dataset": "d",
            "image": image,
            "width": 100,
            "height": 100,
            "codec": codec,
            "setting": f"q={step}",
            "bytes": 1000,
            "bpp": 0.1 * 2**step * scale * image_scale(image),
            **values(step),
            "status": "ok",
        }
        for image in images
        for step in range(NUM_STEPS)
    ]
