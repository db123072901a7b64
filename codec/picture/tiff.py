"""What Pillow overlooks in TIFF files, and why it reads some of them not at all."""

from __future__ import annotations

import warnings
from contextlib import suppress
from io import BytesIO

from PIL import Image, TiffImagePlugin

from imgcodec.codec.errors import ImageFormatError

_BITS, _PHOTOMETRIC, _PLANES, _COLOUR_MAP, _FORMAT = 258, 262, 284, 320, 339
_TOGETHER, _SEPARATE = 1, 2
_NATIVE = {
    **dict.fromkeys(("F;32BF", "F;32F"), "F;32NF"),
    **dict.fromkeys(("I;16BS", "I;16S"), "I;16NS"),
    **dict.fromkeys(("I;32BS", "I;32S"), "I;32NS"),
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


def prepare_tiff(image: Image.Image) -> None:
    """Make Pillow read the samples of a TIFF file as they are stored; others stay as they are.

    Call it before the pixels are loaded.

    Raises:
        ImageFormatError: Pillow cannot.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    if tags.get(_PLANES) == _SEPARATE:
        if len(image.getbands()) == 1:
            tags[_PLANES] = _TOGETHER
            image._setup()
        else:
            _prepare_planes(image)
    image.tile = [
        tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff"
        else tile
        for tile in image.tile
    ]


def _prepare_planes(image: TiffImagePlugin.TiffImageFile) -> None:
    """Heed both bytes of 16-bit channels that are stored one after the other."""
    is_wide = max(image.tag_v2.get(_BITS, (8,))) == 16
    is_raw = image.tile[0].codec_name != "libtiff"
    if image.mode not in ("RGB", "RGBA") and (image.mode != "CMYK" or (is_raw and is_wide)):
        raise ImageFormatError(
            f"Pillow does not read {image.mode} from TIFF files with separate channels"
        )
    if is_wide and is_raw:
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        image.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
            for tile in image.tile
            if tile.args[0] != ";"  # a channel without a meaning
        ]


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
