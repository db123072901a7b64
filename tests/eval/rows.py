"""Rows of a run that was never made, for what reads rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NUM_STEPS = 5


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
