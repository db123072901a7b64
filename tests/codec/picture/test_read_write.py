"""Pictures in and out: every mode, odd sizes, metadata, alpha, damage."""

import io
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.base import Picture, to_pil
from imgcodec.codec.picture.read import read_picture
from imgcodec.codec.picture.write import write_image
from tests.codec.pictures import SIZES, encoded, noise, png

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = '<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/">é</x:xmpmeta>'.encode()


def make_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    exif[0x010F] = "maker"
    return exif.tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_agree_with_pillow(mode, size):
    image = Image.fromarray(noise(*size, 4)).convert("RGBA").convert(mode)
    picture = read_picture(image)
    reference = np.array(image.convert("RGBA"))
    np.testing.assert_array_equal(picture.pixels, reference[..., :3])
    assert picture.is_gray == (mode in ("1", "L", "LA"))
    has_alpha = mode in ("LA", "RGBA", "P")  # the palette has four channels
    if has_alpha:
        np.testing.assert_array_equal(picture.alpha, reference[..., 3])
    else:
        assert picture.alpha is None
    back = to_pil(picture)
    assert back.mode == ("L" if picture.is_gray else "RGB") + ("A" if has_alpha else "")
    np.testing.assert_array_equal(np.array(back.convert("RGBA")), reference)


def test_premultiplied_modes_become_straight():
    straight = noise(5, 6, 4)
    straight[..., 3] = 200
    for mode, full in (("RGBa", "RGBA"), ("La", "LA")):
        image = Image.fromarray(straight).convert(full)
        picture = read_picture(image.convert(mode))
        assert (picture.alpha == 200).all()
        reference = np.array(image.convert("RGBA"))[..., :3].astype(int)
        assert np.abs(picture.pixels - reference).max() <= 2
        assert picture.is_gray == (mode == "La")


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "int32"])
def test_sixteen_bit_grey_is_rounded_to_eight(dtype):
    wide = np.array([[0, 128, 129, 257, 32767, 65406, 65407, 65535]])
    picture = read_picture(Image.fromarray(wide.astype(dtype)))
    assert picture.is_gray
    assert picture.pixels[0, :, 0].tolist() == [round(v / 257) for v in wide[0].tolist()]
    assert picture.pixels.shape == (1, 8, 3)


def test_sixteen_bit_png_files_are_read():
    wide = np.arange(0, 65536, 1999, dtype=np.uint16)[None]
    data = encoded(Image.fromarray(wide), "PNG")
    np.testing.assert_array_equal(read_picture(data).pixels[..., 1], np.round(wide / 257))
    rows = np.stack([wide[0], wide[0][::-1], wide[0]], -1)  # 16-bit RGB: Pillow keeps 8 bits
    raw = b"\0" + rows.astype(">u2").tobytes()
    chunks = [(b"IHDR", len(rows).to_bytes(4, "big") + bytes([0, 0, 0, 1, 16, 2, 0, 0, 0]))]
    chunks += [(b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    picture = read_picture(png(chunks))
    assert np.abs(picture.pixels[0] - rows / 257).max() < 1.01


def test_exif_of_tiff_files_is_kept_and_the_orientation_applied():
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a description", 6
    exif[0x8769] = {0x9003: "2020:02:02 02:02:02"}
    picture = read_picture(encoded(Image.new("RGB", (6, 4)), "TIFF", exif=exif.tobytes()))
    assert picture.pixels.shape == (6, 4, 3)  # Pillow turns TIFF pictures, as every viewer does
    kept = to_pil(picture).getexif()
    assert dict(kept)[0x010E] == "a description"
    assert 0x0112 not in kept
    assert kept.get_ifd(0x8769) == {0x9003: "2020:02:02 02:02:02"}
    assert read_picture(encoded(Image.new("RGB", (6, 4)), "TIFF")).metadata == {}


def test_palette_with_transparency_keeps_its_alpha():
    image = Image.new("P", (7, 9))
    image.putdata([i % 4 for i in range(63)])
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    alphas = {2: [255, 255, 0, 255], bytes([0, 90, 255]): [0, 90, 255, 255]}
    for transparency, expected in alphas.items():
        data = encoded(image, "PNG", transparency=transparency)
        picture = read_picture(data)
        assert picture.alpha.ravel()[:4].tolist() == expected
        assert picture.pixels[0, :3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_colour_key_transparency_becomes_alpha(mode):
    image = Image.fromarray(np.array([[0, 50, 100]], np.uint16 if mode == "I;16" else np.uint8))
    key = (50, 50, 50) if mode == "RGB" else 50
    data = encoded(image if mode != "RGB" else image.convert("RGB"), "PNG", transparency=key)
    picture = read_picture(data)
    assert picture.alpha.tolist() == [[255, 0, 255]]
    assert picture.is_gray == (mode != "RGB")


def test_cmyk_goes_through_its_profile_or_loses_it():
    image = Image.fromarray(noise(4, 5)).convert("CMYK")
    image.info["icc_profile"] = b"not a profile"
    picture = read_picture(image)
    np.testing.assert_array_equal(picture.pixels, np.array(image.convert("RGB")))
    assert picture.metadata == {}


def test_lab_is_converted():
    lab = Image.new("LAB", (2, 2), (255, 128, 128))
    np.testing.assert_allclose(read_picture(lab).pixels, 255, atol=2)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "pil", "array"])
def test_every_kind_of_source_gives_the_same_picture(kind, tmp_path):
    pixels = noise(6, 5)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    sources = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "pil": Image.fromarray(pixels),
        "array": pixels,
    }
    picture = read_picture(sources[kind])
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.alpha, picture.is_gray, picture.metadata) == (None, False, {})


def test_arrays_of_two_and_four_channels():
    gray = read_picture(noise(4, 3, 1))
    assert gray.is_gray
    np.testing.assert_array_equal(gray.pixels[..., 2], noise(4, 3, 1))
    rgba = read_picture(noise(4, 3, 4))
    np.testing.assert_array_equal(np.dstack((rgba.pixels, rgba.alpha)), noise(4, 3, 4))


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((3, 3), np.float32),
        np.zeros((3, 3, 2), np.uint8),
        np.zeros((0, 3, 3), np.uint8),
        np.zeros(3, np.uint8),
        Image.new("RGB", (0, 4)),
        b"",
        b"not a picture",
        encoded(Image.fromarray(noise(40, 40)), "PNG")[:900],
        encoded(Image.fromarray(noise(40, 40)), "JPEG")[:500],
        io.BytesIO(b"GIF89a"),
        17,
    ],
)
def test_unreadable_sources_raise_image_format_error(source):
    with pytest.raises(ImageFormatError):
        read_picture(source)


def test_a_missing_file_raises_the_error_of_open(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "missing.png")


@settings(deadline=None)
@given(st.data())
def test_damaged_files_read_or_raise_image_format_error(data):
    format = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]))
    damaged = bytearray(encoded(Image.fromarray(noise(9, 11)), format))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(damaged))
    except ImageFormatError:
        return
    assert picture.pixels.dtype == np.uint8


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_metadata_round_trip_through_files(format, mode, tmp_path):
    image = Image.fromarray(noise(16, 24)).convert(mode)
    image.info.update(icc_profile=ICC, exif=make_exif(), xmp=XMP)
    path = tmp_path / f"a.{format.lower()}"
    write_image(image, path)
    picture = read_picture(path)
    assert picture.metadata["icc"] == ICC
    assert picture.metadata["xmp"] == XMP
    back = to_pil(picture)
    assert back.info["xmp"] == XMP
    assert back.info["icc_profile"] == ICC
    if format != "TIFF":  # there the tags are part of the file's structure, not a block
        assert picture.metadata["exif"] == make_exif().removeprefix(b"Exif\0\0")
        assert back.getexif()[0x0112] == 6
        assert back.getexif()[0x010F] == "maker"
    again = io.BytesIO()
    write_image(back, again, "PNG")
    assert read_picture(again.getvalue()).metadata == picture.metadata
    # The orientation is not applied, but by Pillow to TIFF.
    assert picture.pixels.shape == ((24, 16, 3) if format == "TIFF" else (16, 24, 3))


def test_exif_of_other_writers_is_found():
    exif = Image.Exif()
    exif[0x0112] = 3
    image = Image.fromarray(noise(8, 8))
    picture = read_picture(encoded(image, "JPEG", exif=exif))
    assert to_pil(picture).getexif()[0x0112] == 3
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    assert read_picture(encoded(image, "PNG", pnginfo=info)).metadata == {"xmp": XMP}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_formats_are_written_losslessly(format, channels, tmp_path):
    array = noise(13, 8, channels)
    path = tmp_path / f"a.{format.lower()}"
    write_image(Image.fromarray(array), path)
    picture = read_picture(path)
    expected = array if channels == 3 else np.array(Image.fromarray(array).convert("RGBA"))
    np.testing.assert_array_equal(picture.pixels, expected[..., :3])
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, array[..., 3])


def test_jpeg_refuses_transparency_with_advice(tmp_path):
    with pytest.raises(ImageFormatError, match="write PNG"):
        write_image(Image.new("RGBA", (2, 2)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.txt"])
def test_unknown_formats_are_refused(name, tmp_path):
    with pytest.raises(ImageFormatError, match="format"):
        write_image(Image.new("RGB", (2, 2)), tmp_path / name)
    with pytest.raises(ImageFormatError, match="format"):
        write_image(Image.new("RGB", (2, 2)), io.BytesIO())
    with pytest.raises(ImageFormatError, match="NOPE"):
        write_image(Image.new("RGB", (2, 2)), tmp_path / "a.png", "nope")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_image(Image.new("RGB", (2, 2)), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]


def test_links_stay_links_and_permissions_are_those_of_a_new_file(tmp_path):
    (tmp_path / "target.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    write_image(Image.new("RGB", (2, 2)), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert read_picture(tmp_path / "target.png").pixels.shape == (2, 2, 3)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "target.png").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((2, 2), np.uint8), None),
        (np.zeros((2, 0, 3), np.uint8), None),
        (np.zeros((2, 2, 3), np.uint16), None),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), bool)),
    ],
)
def test_inconsistent_pictures_cannot_be_made(pixels, alpha):
    with pytest.raises(ImageFormatError):
        Picture(pixels, alpha)
