"""Colours that a file describes without a profile, and profiles that cannot stay."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from imgcodec.codec.picture.colour import make_profile, space_of, to_srgb
from imgcodec.codec.picture.read import read_picture
from imgcodec.codec.picture.write import write_image
from tests.codec.picture.test_depth import deep_avif
from tests.codec.pictures import encoded, noise, png, wide_png

D65 = (0.3127, 0.3290)
SRGB = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def chunks_of(points=None, gamma=None, cicp=None, srgb=False):
    chunks = []
    if cicp:
        chunks.append((b"cICP", bytes(cicp)))
    if srgb:
        chunks.append((b"sRGB", b"\0"))
    if gamma is not None:
        chunks.append((b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    if points:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(p * 100_000) for p in points))))
    return chunks


def png_with(channels=3, **colours):
    """Return an 8-bit PNG file of noise with colour chunks."""
    data = encoded(Image.fromarray(noise(16, 16, channels)), "PNG")
    body = data[33:]
    extra = png(chunks_of(**colours))[8:]
    return data[:33] + extra + body


def shown(data):
    """Return what a viewer with colour management shows, in sRGB, by independent arithmetic."""
    image = read_picture(data)
    source = ImageCms.ImageCmsProfile(io.BytesIO(image.metadata["icc"]))
    rgb = Image.fromarray(image.pixels)
    if space_of(image.metadata["icc"]) == "GRAY":
        rgb = rgb.getchannel(0)
    srgb = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(rgb, source, srgb, outputMode="RGB"))


def srgb_of(pixels, gamma, points):
    """Return sRGB of samples with primaries of the same white."""

    def matrix(p):
        xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(p[::2], p[1::2], strict=True)])
        return xyz[1:].T * np.linalg.solve(xyz[1:].T, xyz[0])

    light = (pixels / 255) ** gamma
    light = light @ (np.linalg.inv(matrix(SRGB)) @ matrix(points)).T
    light = light.clip(0, 1)
    low, high = light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, low, high)


@pytest.mark.parametrize(
    ("colours", "gamma", "points"),
    [
        ({"gamma": 1.0}, 1.0, SRGB),
        ({"gamma": 0.45455, "points": P3}, 2.2, P3),
        ({"gamma": 0.55, "points": P3}, 1 / 0.55, P3),
        ({"cicp": (12, 8, 0, 1)}, 1.0, P3),
        ({"cicp": (12, 4, 0, 1), "gamma": 0.9, "srgb": True}, 2.2, P3),
    ],
)
def test_colours_of_png_chunks_are_those_that_viewers_show(colours, gamma, points):
    data = png_with(**colours)
    np.testing.assert_array_equal(read_picture(data).pixels, noise(16, 16))
    assert np.abs(shown(data) - srgb_of(noise(16, 16), gamma, points)).max() < 3


def test_gamma_of_grey_makes_a_grey_profile():
    data = png_with(1, gamma=1.0)
    picture = read_picture(data)
    assert picture.is_gray
    assert space_of(picture.metadata["icc"]) == "GRAY"
    expected = srgb_of(picture.pixels, 1.0, SRGB)
    is_light = picture.pixels > 12  # Little CMS is coarse in the shadows of grey profiles
    assert np.abs(shown(data) - expected)[is_light].max() < 3


@pytest.mark.parametrize(
    "colours",
    [
        {},
        {"gamma": 0.45455},
        {"gamma": 0.45455, "points": SRGB},
        {"gamma": 0.7, "srgb": True},
        {"cicp": (1, 13, 0, 1)},
        {"cicp": (1, 1, 0, 1)},
    ],
)
def test_colours_that_are_srgb_need_no_profile(colours, caplog):
    assert read_picture(png_with(**colours)).metadata == {}
    assert caplog.messages == []


def test_a_profile_of_the_file_goes_before_its_chunks():
    profile = make_profile(SRGB, 1.8)
    data = encoded(Image.new("RGB", (4, 4)), "PNG", icc_profile=profile)
    data = data[:33] + png(chunks_of(gamma=1.0))[8:] + data[33:]
    assert read_picture(data).metadata["icc"] == profile


@pytest.mark.parametrize("colours", [{"gamma": 1e-5, "points": P3}, {"points": (0.3, 0.3) * 4}])
def test_impossible_colours_warn(colours, caplog):
    assert "icc" not in read_picture(png_with(**colours)).metadata
    assert "make no colours" in caplog.text


def test_code_points_of_avif_are_heeded(caplog):
    assert read_picture(deep_avif(12, 13)).metadata["icc"] == make_profile(P3, 0)
    assert read_picture(deep_avif(1, 1)).metadata == {}
    read_picture(deep_avif(10, 13))
    assert "taken as sRGB" in caplog.text
    assert read_picture(encoded(Image.new("RGB", (8, 8)), "AVIF")).metadata == {}


def test_profiles_are_those_of_little_cms():
    ours = Image.fromarray(noise(32, 32))
    same = to_srgb(ours, make_profile(SRGB, 0))
    np.testing.assert_array_equal(np.asarray(same), np.asarray(ours))
    for values in ((SRGB, -1), (SRGB, float("nan")), ((0.3, 0) * 4, 1), ((0.3, 0.3) * 4, 1)):
        with pytest.raises((ValueError, np.linalg.LinAlgError)):
            make_profile(*values)


def cmyk_profile():
    """Return an ICC profile of CMYK to Lab: white paper, black K, cyan of 60 % lightness."""
    lightness = [
        255 * (1 - (ink & 1)) * (1 - 0.4 * (ink >> 3)) * (1 - 0.3 * (ink >> 2 & 1))
        for ink in range(16)
    ]
    ramp, identity = bytes(range(256)), struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    nodes = b"".join(bytes([round(value), 128, 128]) for value in lightness)
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"cmyk" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + white,
        b"A2B0": b"mft1\0\0\0\0\4\3\2\0" + identity + ramp * 4 + nodes + ramp * 3,
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        place = 132 + 12 * len(tags) + len(body)
        table += name + struct.pack(">II", place, len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4xI", size, 0x02400000) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp"
    return (head.ljust(68, b"\0") + white).ljust(128, b"\0") + table + body


def test_cmyk_goes_through_its_profile():
    image = Image.new("CMYK", (4, 1))
    image.putdata([(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)])
    picture = read_picture(encoded(image, "TIFF", icc_profile=cmyk_profile()))
    assert picture.metadata == {}
    lightness = np.array([100, 0, 60, 49.8])  # CIE 1976 L*, from there to the curve of sRGB
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    low, high = light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
    expected = 255 * np.where(light <= 0.0031308, low, high)
    assert np.abs(picture.pixels[0] - expected[:, None]).max() < 2
    plain = read_picture(encoded(image, "TIFF"))
    assert plain.pixels[0].tolist() == [[255] * 3, [0] * 3, [0, 255, 255], [127] * 3]


def test_grey_profiles_do_not_end_on_colour_pictures(caplog):
    gray = make_profile(SRGB, 1.0, is_gray=True)
    misfit = encoded(Image.new("RGB", (4, 4)), "JPEG", icc_profile=gray)
    assert read_picture(misfit).metadata == {}
    assert "GRAY does not fit RGB" in caplog.text
    image = Image.fromarray(noise(8, 8, 1) | 16)
    image.info["icc_profile"] = gray
    for format in ("WEBP", "BMP"):
        buffer = io.BytesIO()
        write_image(image, buffer, format)
        with Image.open(buffer) as back:
            assert "icc_profile" not in back.info
            expected = srgb_of(np.asarray(image)[..., None].repeat(3, 2), 1.0, SRGB)
            assert np.abs(np.asarray(back.convert("RGB")) - expected).max() < 3


def test_wide_png_with_code_points_is_read_whole():
    data = wide_png(np.full((2, 2, 3), 65535), [(b"cICP", bytes([12, 13, 0, 1]))])
    picture = read_picture(data)
    assert picture.pixels.min() == 255
    assert picture.metadata["icc"] == make_profile(P3, 0)


def test_code_points_that_nothing_explains_warn(caplog):
    assert read_picture(png_with(cicp=(200, 13, 0, 1))).metadata == {}
    assert "code points 200, 13 are taken as sRGB" in caplog.text
    caplog.clear()
    assert "icc" in read_picture(png_with(cicp=(200, 13, 0, 1), gamma=1.0)).metadata
    assert caplog.messages == []
