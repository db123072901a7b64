"""What callers may ask of the encoder: names and ranges, known without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imgcodec.codec.errors import OptionError

MAX_EFFORT = 9
EXACT_CHOICES = EXACT_AUTO, EXACT_NONE, EXACT_ALL = ("auto", "none", "all")

LevelBits = str | Sequence[float] | None

EQUAL, AUTO = "equal", "auto"
PRESETS = {EQUAL: 0.0, "preview": 1.0, "fine": -1.0}
"""Bits per sample by which all levels but the finest are coded finer; training goes as far."""


def parse_level_bits(value: LevelBits) -> str | tuple[float, ...]:
    """Return "auto", a name of `PRESETS` (None is "equal"), or the numbers of a list or "B1,B2".

    Raises:
        OptionError: it is nothing of this.
    """
    if value is None or value in (AUTO, *PRESETS):
        return EQUAL if value is None else str(value)
    try:
        bits = tuple(map(float, value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        bits = ()
    if not bits or not all(map(math.isfinite, bits)):
        known = ", ".join((*PRESETS, AUTO))
        raise OptionError(f"level bits are one of {known}, or numbers such as 0.5,-0.25: {value!r}")
    return bits
