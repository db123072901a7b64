"""What Pillow overlooks in TIFF files, and why it reads some of them not at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

from PIL import Image, TiffImagePlugin

from imgcodec.codec.errors import ImageFormatError

_BITS, _PHOTOMETRIC, _PLANES, _COLOUR_MAP, _FORMAT = 258, 262, 284, 320, 339
_TOGETHER, _SEPARATE = 1, 2
_WHITE_IS_0, _BLACK_IS_0 = 0, 1
_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
_NATIVE = {
    **dict.fromkeys(("F;32BF", "F;32F"), "F;32NF"),
    **dict.fromkeys(("I;16BS", "I;16S"), "I;16NS"),
    **dict.fromkeys(("I;32BS", "I;32S"), "I;32NS"),
    **dict.fromkeys(("F;64BF", "F;64F"), "F;64NF"),
    "I;32B": "I;32N",
}
"""Raw modes in the order of bytes of this machine, in which libtiff returns all samples."""
_PHOTOMETRICS = {
    0: "grey from white to black",
    1: "grey",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    9: "ICC Lab",
}
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = (b"+\0", b"\0+")


def _further_modes() -> dict[Any, tuple[str, str]]:
    """Return grey samples that Pillow unpacks, but does not look for in TIFF files."""
    found: dict[Any, tuple[str, str]] = {}
    for prefix, end in ((b"II", ""), (b"MM", "B")):
        for photometric in (_WHITE_IS_0, _BLACK_IS_0):
            wide = f"I;16{end}"
            for kind, bits, mode, raw in (
                (_UNSIGNED, 12, "I;16", "I;12"),
                (_UNSIGNED, 16, wide, wide),
                (_UNSIGNED, 32, "I", f"I;32{end}"),
                (_SIGNED, 16, "I", f"I;16{end}S"),
                (_SIGNED, 32, "I", f"I;32{end}S"),
                (_FLOATING, 64, "F", f"F;64{end}F"),
            ):
                key = (prefix, photometric, (kind,), 1, (bits,), ())
                if key not in TiffImagePlugin.OPEN_INFO:
                    found[key] = mode, raw
    return found


@contextmanager
def further_modes() -> Iterator[None]:
    """Let Pillow read more kinds of grey for a while; one thread at a time."""
    added = _further_modes()
    TiffImagePlugin.OPEN_INFO.update(added)
    try:
        yield
    finally:
        for key in added:
            del TiffImagePlugin.OPEN_INFO[key]


def prepare_tiff(image: Image.Image) -> None:
    """Make Pillow read the samples of a TIFF file as they are stored; others stay as they are.

    Call it before the pixels are loaded; later it does nothing.

    Raises:
        ImageFormatError: Pillow cannot.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tile:
        return
    tags = image.tag_v2
    if tags.get(_PLANES) == _SEPARATE:
        if len(image.getbands()) == 1:
            tags[_PLANES] = _TOGETHER
            image._setup()
        else:
            _prepare_planes(image)
    if _is_by_libtiff(image):
        _replace_raw_modes(image, lambda mode: _NATIVE.get(mode, mode))


def _prepare_planes(image: TiffImagePlugin.TiffImageFile) -> None:
    """Heed both bytes of 16-bit channels that are stored one after the other."""
    is_wide = max(image.tag_v2.get(_BITS, (8,))) == 16
    is_raw = not _is_by_libtiff(image)
    if image.mode not in ("RGB", "RGBA") and (image.mode != "CMYK" or (is_raw and is_wide)):
        raise ImageFormatError(
            f"Pillow does not read {image.mode} from TIFF files with separate channels"
        )
    if is_wide and is_raw:
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        _replace_raw_modes(image, lambda band: f"{band};16{order}" if band != ";" else None)


def _is_by_libtiff(image: TiffImagePlugin.TiffImageFile) -> bool:
    return image.tile[0].codec_name == "libtiff"


def _replace_raw_modes(
    image: TiffImagePlugin.TiffImageFile, replace: Callable[[str], str | None]
) -> None:
    """Give every tile another raw mode; None drops it, since its channel has no meaning."""
    tiles = []
    for tile in image.tile:
        mode, *rest = tile.args if isinstance(tile.args, tuple) else (str(tile.args),)
        replaced = replace(mode)
        if replaced is not None:
            tiles.append(tile._replace(args=(replaced, *rest)))
    image.tile = tiles


def widen_palette(image: Image.Image) -> None:
    """Make a palette of bytes what was meant, as libtiff does: its entries should have 16 bits."""
    colours = getattr(image, "tag_v2", {}).get(_COLOUR_MAP)
    if image.mode != "P" or not colours or max(colours) > 255:
        return
    count = len(colours) // 3
    planes = (colours[start : start + count] for start in (0, count, 2 * count))
    image.putpalette([value for colour in zip(*planes, strict=True) for value in colour])


def kind_of_tiff(data: bytes) -> str | None:
    """Return what a TIFF file holds in a few words, None of other files."""
    if data[:4] not in _MAGIC:
        return None
    with suppress(Exception), warnings.catch_warnings():  # parsers raise what they like on damage
        warnings.simplefilter("ignore")
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in _BIG else 8])
        file = BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        bits = directory.get(_BITS, (1,))
        kind, photometric = directory.get(_FORMAT, (1,))[0], directory[_PHOTOMETRIC]
        words = [
            "big-endian TIFF of" if directory.prefix == b"MM" else "TIFF of",
            "/".join(map(str, sorted(set(bits)))),
            "bits a sample,",
            _FORMATS.get(kind, ""),
            _PHOTOMETRICS.get(photometric, f"photometric interpretation {photometric}"),
            "in separate channels" if directory.get(_PLANES) == _SEPARATE else "",
        ]
        return " ".join(filter(None, words))
    return "damaged TIFF"
