"""A picture as it builds up from its file: after each level, or after each pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from imgcodec.codec.api import decode
from imgcodec.codec.files import Source, read_bytes
from imgcodec.codec.session.inspection import inspect
from imgcodec.codec.stream.container import MAX_PIXELS, read_stream
from imgcodec.codec.weights.installed import FIDELITY


class Preview(NamedTuple):
    """What a beginning of a file shows.

    Attributes:
        name: "level1", "level2" and so on, or the name of a pass, or "exact" where no pass is.
        label: the same in words, such as "level 1 of 3".
        num_bytes: of the file up to the end of the level: cut there, it shows this picture.
            Passes do not end at whole bytes: up to the end of a pass, the ideal code length.
        image: the picture as `decode` returns it.
    """

    name: str
    label: str
    num_bytes: int
    image: Image.Image

    @property
    def bpp(self) -> float:
        """Bits per pixel of the file up to here."""
        return 8 * self.num_bytes / (self.image.width * self.image.height)


def preview(
    source: Source,
    *,
    model: str | os.PathLike | None = None,
    decoder: str = FIDELITY,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Preview]:
    """Yield the picture after each level of a file or, where it has one level, after each pass.

    The last one is the whole picture. Arguments and errors are those of `decode`.
    """
    data = read_bytes(source)
    has_levels = len(read_stream(data, max_pixels=max_pixels).levels) > 1
    weights = None if model is None else os.fspath(model)
    found = inspect(data, verify=not has_levels, model=weights, max_pixels=max_pixels)
    if has_levels:
        for level in found.levels:
            image = decode(
                data, model=model, decoder=decoder, levels=level.number, max_pixels=max_pixels
            )
            label = f"level {level.number} of {len(found.levels)}"
            yield Preview(f"level{level.number}", label, level.bytes_so_far, image)
        return
    assert found.passes is not None
    if not found.passes:  # everything is exact
        image = decode(data, model=model, decoder=decoder, max_pixels=max_pixels)
        yield Preview("exact", "stored without loss", len(data), image)
        return
    bits = 8.0 * (found.levels[0].bytes_so_far - found.levels[0].bytes)
    for number, entry in enumerate(found.passes, 1):
        bits += entry.bits
        image = decode(data, model=model, decoder=decoder, max_passes=number, max_pixels=max_pixels)
        num_bytes = len(data) if number == len(found.passes) else round(bits / 8)
        yield Preview(entry.name, f"pass {number} of {len(found.passes)}", num_bytes, image)
