"""Colour profiles: made of what a file says of its colours, and applied where they cannot stay.

Profiles are written here since no library at hand makes them of chromaticities; Pillow's ImageCms
(Little CMS) checks and applies them.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imgcodec.codec.picture.probe import Facts

logger = logging.getLogger(__name__)

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of H.273 that no 8-bit picture can hold."""

_D65 = (0.3127, 0.3290)
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_UNSPECIFIED = 2
_PRIMARIES = {
    1: _SRGB,
    _UNSPECIFIED: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""White, red, green and blue as x, y (H.273, table 2)."""
_SRGB_CURVE = 0.0
"""In the place of an exponent: that of sRGB."""
_GAMMAS = {
    **dict.fromkeys((1, _UNSPECIFIED, 6, 7, 13, 14, 15), _SRGB_CURVE),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}
"""Exponents of H.273, table 3. Video curves are shown as sRGB, as browsers do."""
_CHROMATICITY_TOLERANCE = 0.002
_GAMMA_TOLERANCE = 0.01
_PNG_GAMMA = 1 / 2.2
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_SAME_WITHIN = 1
"""Levels by which colours may change until a conversion is worth it."""


def profile_of_file(image: Image.Image, facts: Facts, is_gray: bool) -> bytes | None:
    """Return an ICC profile for what a file without one says of its colours.

    That is cICP of PNG, nclx of AVIF, and gAMA and cHRM of PNG where there is no sRGB chunk. None
    where the file says nothing or nothing that differs from sRGB; a warning where it says what no
    profile can be made of. Sources: PNG, third edition, section 4.3 (precedence); H.273.
    """
    info = image.info
    if facts.cicp is not None:
        primaries, transfer = facts.cicp
        if transfer in HDR_TRANSFERS:
            return None  # which the reader has warned of
        if primaries in _PRIMARIES and transfer in _GAMMAS:
            return _make(_PRIMARIES[primaries], _GAMMAS[transfer], is_gray)
        if image.format != "PNG" or not {"srgb", "gamma", "chromaticity"} & set(info):
            logger.warning("colours of code points %d, %d are taken as sRGB", primaries, transfer)
            return None
    if image.format != "PNG" or "srgb" in info or not {"gamma", "chromaticity"} & set(info):
        return None
    points, exponent = info.get("chromaticity", _SRGB), info.get("gamma", _PNG_GAMMA)
    try:
        is_srgb_curve = abs(exponent - _PNG_GAMMA) < _GAMMA_TOLERANCE
        if is_srgb_curve and (is_gray or _are_near(points, _SRGB)):
            return None
        return make_profile(points, 1 / exponent if "gamma" in info else _SRGB_CURVE, is_gray)
    except (ValueError, ZeroDivisionError, TypeError, np.linalg.LinAlgError):
        logger.warning("gamma %s and chromaticities %s make no colours: sRGB", exponent, points)
    return None


def space_of(profile: bytes) -> str | None:
    """Return "RGB", "GRAY", "CMYK", ... of an ICC profile, None where it is not one."""
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    return profile[16:20].decode("latin-1").strip()


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return L, RGB, CMYK or LAB as RGB in sRGB by its profile, which may be unusable or missing.

    Pictures whose profile is as good as sRGB stay as they are.

    Raises:
        ImageCms.PyCMSError: Lab cannot be converted.
    """
    try:
        if image.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        elif profile:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
        else:
            return image.convert("RGB")
        if image.mode == "L" and space_of(profile or b"") == "RGB":
            image = image.convert("RGB")
        if image.mode in ("L", "RGB"):
            shades = _shades(image.mode)
            change = np.asarray(_convert(shades, source), np.int16) - np.asarray(
                shades.convert("RGB")
            )
            if np.abs(change).max() <= _SAME_WITHIN:
                return image.convert("RGB")
        return _convert(image, source)
    except (ImageCms.PyCMSError, OSError):
        if image.mode == "LAB":
            raise
        logger.warning("the ICC profile is unusable: colours are converted without it")
        return image.convert("RGB")


def _convert(image: Image.Image, source: Any) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    assert converted is not None  # it is only when converting in place
    return converted


def _shades(mode: str) -> Image.Image:
    """Return a small picture with colours from everywhere."""
    steps = np.arange(0, 256, 17 if mode == "RGB" else 1, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    cube = np.stack(np.meshgrid(steps, steps, steps), -1)
    return Image.fromarray(cube.reshape(len(steps), -1, 3))


def _are_near(points: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(a - b) < _CHROMATICITY_TOLERANCE for a, b in zip(points, others, strict=True))


def _make(points: Sequence[float], gamma: float, is_gray: bool) -> bytes | None:
    """Return a profile, or None for what is sRGB anyway; see `make_profile`."""
    if gamma == _SRGB_CURVE and (is_gray or _are_near(points, _SRGB)):
        return None
    return make_profile(points, gamma, is_gray)


def make_profile(points: Sequence[float], gamma: float, is_gray: bool = False) -> bytes:
    """Return an ICC profile of RGB (or grey) with these primaries and this curve.

    Args:
        points: x, y of white, red, green and blue.
        gamma: exponent from samples to light, 0 for the curve of sRGB.
        is_gray: make a grey profile; the primaries do not matter then.

    Raises:
        ValueError: The values make no colours.

    Source: ICC.1:2010 (profile version 4.3), sections 7, 8.3, 8.4, 10.15; matrices as in
    SMPTE RP 177, adapted to D50 by Bradford's transform.
    """
    if len(points) != 8 or not all(map(math.isfinite, (*points, gamma))):
        raise ValueError("eight chromaticities and a gamma are needed")
    if min(points[1::2]) <= 0 or not 0 <= gamma <= 100:
        raise ValueError("chromaticities must have y > 0, gamma must be 0 to 100")
    white, *primaries = (_xyz(x, y) for x, y in zip(points[::2], points[1::2], strict=True))
    adapt = _adaptation(white)
    tags = {
        b"desc": _text("made of the colour information of the file"),
        b"cprt": _text("no copyright"),
        b"wtpt": _xyz_tag(np.array(_D50)),
    }
    if is_gray:
        tags[b"kTRC"] = _curve(gamma)
    else:
        matrix = np.array(primaries).T
        scales = np.linalg.solve(matrix, white)
        if scales.min() <= 0:
            raise ValueError("white lies outside of the primaries")
        colorants = adapt @ (matrix * scales)
        tags[b"chad"] = b"sf32" + bytes(4) + _fixed(adapt.ravel())
        for letter, column in zip((b"r", b"g", b"b"), colorants.T, strict=True):
            tags[letter + b"XYZ"] = _xyz_tag(column)
            tags[letter + b"TRC"] = _curve(gamma)
    return _assemble(b"GRAY" if is_gray else b"RGB ", tags)


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    ratios = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(ratios) @ _BRADFORD


def _fixed(values: Any) -> bytes:
    """Return s15Fixed16 numbers."""
    numbers = [round(float(value) * 65536) for value in values]
    if not all(-(2**31) <= number < 2**31 for number in numbers):
        raise ValueError("colours are out of range")
    return struct.pack(f">{len(numbers)}i", *numbers)


def _xyz_tag(xyz: Any) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(xyz)


def _curve(gamma: float) -> bytes:
    if gamma == _SRGB_CURVE:  # Y = (aX + b)^g for X >= d, else cX
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(numbers)
    return b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed([gamma])


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return (
        b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded
    )


def _assemble(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return header, table of tags and tags; equal ones are stored once."""
    offset = 128 + 4 + 12 * len(tags)
    table, body, places = struct.pack(">I", len(tags)), b"", {}
    for name, content in tags.items():
        if content not in places:
            places[content] = offset + len(body)
            body += content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", places[content], len(content))
    header = struct.pack(">I4xI", offset + len(body), 0x04300000)
    header += b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + table + body
