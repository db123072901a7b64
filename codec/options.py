"""What callers may ask of the encoder: names and ranges, known without torch."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from imgcodec.codec.errors import OptionError
from imgcodec.codec.stream.container import MAX_PIXELS, parse_metadata_names

DEFAULT_FAMILY = "beta"
DEFAULT_QUALITY = 60
TUNES = {"eye": "beta-base-5", "psnr": "beta-base-2"}
"""What the shipped weights of the default family were trained for, and which they are."""
TILE_PX = 1024
MAX_EFFORT = 9
EXACT_CHOICES = EXACT_AUTO, EXACT_NONE, EXACT_ALL = ("auto", "none", "all")

LevelBits = str | Sequence[float] | None

EQUAL, AUTO = "equal", "auto"
PRESETS = {EQUAL: 0.0, "preview": 1.0, "fine": -1.0}
"""Bits per sample by which all levels but the finest are coded finer; training goes as far."""


def tune_of(model: str) -> str | None:
    """Return the tune whose weights have an id, None where none has."""
    return next((tune for tune, weights in TUNES.items() if weights == model), None)


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


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode a picture, but for the quality: the one list of what `encode` takes besides.

    Attributes:
        model: family ("beta", the default), model id, or path of a weights file.
        tune: which weights of the default family instead: "eye", trained for what people see, or
            "psnr", trained for squared error.
        effort: 1 to 9; from 2 on the latents of this very picture are refined, which takes 30 (2)
            to 200 (9) times the processor time and makes smaller files at equal quality; any
            decoder reads them.
        exact: which blocks of 32 px are stored without loss: "auto" (text and graphics, where that
            is cheaper than the model or the model would smear them), "none", or "all".
        level_bits: how bits go to the levels of models that have several: "equal" (all at the rate
            of the quality, the default), "preview" (more for the coarse levels), "fine" (fewer),
            "auto" (what is best for each tile, found by trying), or for each level but the finest
            the bits per sample by which it is coded finer (or, negative, coarser) than equal.
        metadata: what to store: "all", "none", or names separated by commas ("icc,exif,xmp").
            Without EXIF the pixels are turned as its orientation says.
        strict: refuse pictures of more than 8 bits a sample, and HDR, instead of reducing them.
        frame: which frame of a file with several, from 0; None refuses such files.
        max_pixels: refuse larger pictures before they are decoded.
        tile_px: side of the tiles, a power of two from 256 to 4096; bounds memory.

    Raises:
        OptionError: a value is out of range, or there are a model and a tune.
    """

    model: str | os.PathLike[str] | None = None
    tune: str | None = None
    effort: int = 1
    exact: str = EXACT_AUTO
    level_bits: LevelBits = None
    metadata: str = "all"
    strict: bool = False
    frame: int | None = None
    max_pixels: int = MAX_PIXELS
    tile_px: int = TILE_PX

    def __post_init__(self) -> None:
        if self.effort not in range(1, MAX_EFFORT + 1):
            raise OptionError(
                f"effort must be an integer from 1 to {MAX_EFFORT}, not {self.effort!r}"
            )
        if self.exact not in EXACT_CHOICES:
            known = ", ".join(EXACT_CHOICES)
            raise OptionError(f"exact must be one of {known}, not {self.exact!r}")
        if self.tune is not None and self.model is not None:
            raise OptionError("give a model or a tune, not both")
        parse_level_bits(self.level_bits)
        parse_metadata_names(self.metadata)
        if self.tune not in (None, *TUNES):
            raise OptionError(f"tune must be one of {', '.join(TUNES)}, not {self.tune!r}")

    @property
    def weights(self) -> str:
        """Name or path of the weights: those of the model, of the tune, or of the default."""
        if self.tune is not None:
            return TUNES[self.tune]
        return DEFAULT_FAMILY if self.model is None else os.fspath(self.model)
