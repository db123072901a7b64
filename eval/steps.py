"""The steps in which a file shows its picture, on one sheet beside the original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from imgcodec.codec.picture.sheet import Panel, draw_sheet, full_columns, reduced, wrap
from imgcodec.codec.previews import Preview
from imgcodec.codec.session.targets import psnr_db
from imgcodec.eval.anchors.base import RgbArray

CELL_PX = 640


def steps_sheet(steps: Sequence[Preview], original: RgbArray | None = None) -> Image.Image:
    """Draw the picture after each step with its bytes, in rows without an empty cell.

    Args:
        steps: at least one, all of one picture.
        original: uint8 HxWx3 of the same size; comes first, and each step gets its PSNR.
    """
    panels = []
    if original is not None:
        height, width = original.shape[:2]
        picture = reduced(Image.fromarray(original), CELL_PX)
        panels.append(Panel(picture, ("original", f"{width} x {height}")))
    for step in steps:
        image = step.image.convert("RGB")
        numbers = f"{step.num_bytes:,} bytes, {step.bpp:.3f} bpp"
        if original is not None:
            numbers += f", {psnr_db(original, np.asarray(image)):.2f} dB"
        panels.append(Panel(reduced(image, CELL_PX), (step.label, numbers)))
    return draw_sheet(list(wrap(panels, full_columns(len(panels)))))
