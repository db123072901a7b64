"""Metadata: they come along where they can, and never cost the picture."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

import imgcodec
from imgcodec.codec.picture.base import Picture, to_pil
from imgcodec.codec.picture.read import read_picture, upright
from imgcodec.codec.picture.write import write_image
from tests.codec.pictures import encoded, noise, png

XMP = b"<x:xmpmeta/>"
HOLD_METADATA = ["AVIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"]
LAYOUT = {254: 1, 256: 4000, 257: 3000, 258: (8, 8, 8), 259: 6, 262: 6, 266: 2, 273: 8, 277: 4}
LAYOUT |= {278: 3000, 279: 99, 284: 2, 317: 2, 322: 64, 323: 64, 324: 8, 325: 99, 338: 2, 339: 3}


def exif_of(tags, **directories):
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    return exif.tobytes()


def tagged(exif=b"", xmp=b"", size=(9, 14)):
    image = Image.fromarray(noise(*size))
    image.info.update({"exif": exif} if exif else {}, **({"xmp": xmp} if xmp else {}))
    return image


def written(image, format):
    buffer = io.BytesIO()
    write_image(image, buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("xmp", [b"", XMP])
def test_tiff_gets_descriptive_tags_alone(xmp, caplog):
    camera = {271: "maker", 272: "model", 305: "software", 33432: "someone", 282: 300.0}
    ifd = {33434: 0.01, 36867: "2020:02:02 02:02:02"}
    exif = exif_of({**camera, **LAYOUT, 34665: ifd, 34853: {1: "N"}})
    data = written(tagged(exif, xmp), "TIFF")
    assert caplog.messages == []
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), noise(9, 14))
        tags = image.getexif()
        assert {tag: tags[tag] for tag in camera} == camera
        assert tags.get_ifd(34665) == ifd
        assert tags.get_ifd(34853) == {1: "N"}
        assert image.info.get("xmp", b"") == xmp


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_keeps_orientation_with_xmp(orientation):
    image = tagged(exif_of({274: orientation, 271: "maker"}), XMP)
    with Image.open(io.BytesIO(written(image, "TIFF"))) as back:
        assert (back.getexif()[274], back.getexif()[271]) == (orientation, "maker")
        assert back.info["xmp"] == XMP


def odd_block(entries):
    """Return an EXIF block of (tag, type, 4 bytes)."""
    body = len(entries).to_bytes(2, "big")
    for tag, kind, value in entries:
        body += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + (1).to_bytes(4, "big") + value
    return b"Exif\0\0MM\0\x2a\0\0\0\x08" + body + bytes(4)


ODD = {
    "odd types": exif_of({271: "maker"})[:0]
    + odd_block([(271, 2, b"M\0\0\0"), (274, 2, b"6\0\0\0"), (282, 2, b"7\0\0\0")]),
    "pointers to nowhere": odd_block([(271, 2, b"M\0\0\0"), (34665, 4, b"\0\xff\xff\xff")]),
    "garbage": b"Exif\0\0" + bytes(range(200)),
    "cut": exif_of({271: "a rather long maker's name", 272: "model"})[:30],
    "unknown types": odd_block([(271, 99, b"abcd"), (272, 2, b"M\0\0\0")]),
    "empty": b"Exif\0\0",
}


@pytest.mark.parametrize("format", [*HOLD_METADATA, "BMP"])
@pytest.mark.parametrize("name", ODD)
def test_damaged_exif_does_not_cost_the_picture(name, format):
    data = written(tagged(ODD[name], XMP), format)
    picture = read_picture(data)
    assert picture.pixels.shape == (9, 14, 3)
    error = np.abs(picture.pixels.astype(int) - noise(9, 14)).max()
    assert error <= {"JPEG": 30, "MPO": 30, "AVIF": 4}.get(format, 0)
    if format != "BMP":
        assert picture.metadata["xmp"] == XMP


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", ODD)
def test_files_of_others_with_damaged_exif_are_read(name, format):
    picture = read_picture(encoded(tagged(), format, exif=ODD[name]))
    again = read_picture(written(to_pil(picture), "TIFF"))
    assert again.pixels.shape == (9, 14, 3)


def test_one_bad_tag_does_not_cost_the_others(caplog):
    exif = odd_block([(271, 2, b"M\0\0\0"), (282, 2, b"7\0\0\0")])
    with Image.open(io.BytesIO(written(tagged(exif), "TIFF"))) as image:
        assert image.getexif()[271] == "M"
    assert caplog.messages == ["EXIF that cannot be written is left out: XResolution"]


def test_what_is_too_long_for_jpeg_is_left_out_with_a_warning(caplog):
    long_xmp = b"<x:xmpmeta>" + b"x" * 70_000 + b"</x:xmpmeta>"
    image = tagged(exif_of({271: "maker"}), long_xmp)
    picture = read_picture(written(image, "JPEG"))
    assert set(picture.metadata) == {"exif"}
    assert caplog.messages == ["XMP cannot be written to a JPEG file and is left out"]
    caplog.clear()
    image = tagged(exif_of({271: "maker", 37510: b"x" * 70_000}), XMP)
    assert set(read_picture(written(image, "JPEG")).metadata) == {"xmp"}
    assert caplog.messages == ["EXIF cannot be written to a JPEG file and is left out"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_xmp_of_other_encodings(encoding, caplog):
    text = "<x:xmpmeta>é</x:xmpmeta>"
    picture = read_picture(written(tagged(xmp=text.encode(encoding)), "PNG"))
    if encoding == "latin-1":  # which XMP cannot be
        assert picture.metadata == {}
        assert "XMP cannot be written to a PNG file" in caplog.text
    else:
        assert picture.metadata["xmp"].decode() == text


@pytest.mark.parametrize("value", [XMP.decode(), tuple(XMP), (XMP,), bytearray(XMP)])
def test_metadata_of_odd_types_are_read(value):
    image = Image.new("RGB", (3, 3))
    image.info["xmp"] = value
    assert read_picture(image).metadata == {"xmp": XMP}


@pytest.mark.parametrize("value", [17, (300, 4), 1.5, object()])
def test_metadata_that_are_none_are_left_out(value, caplog):
    image = Image.new("RGB", (3, 3))
    image.info.update(xmp=value, exif=value, icc_profile=value)
    assert read_picture(image).metadata == {}
    assert len(caplog.messages) == 3


RAW = exif_of({271: "maker"})


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("exif", f"\nexif\n{len(RAW):8}\n{RAW.hex()}\n", {"exif": RAW[6:]}),
        ("APP1", f"\ngeneric profile\n{len(RAW):8}\n{RAW.hex()}\n", {"exif": RAW[6:]}),
        ("xmp", f"\nxmp\n{len(XMP):8}\n{XMP.hex()}\n", {"xmp": XMP}),
        ("exif", "\nexif\n  9\nnot hexadecimal\n", {}),
        ("exif", "\nexif\n  9\n", {}),
        ("exif", "", {}),
        ("exif", f"\nexif\n  99\n{RAW.hex()}\n", {}),
    ],
)
def test_raw_profiles(kind, text, expected, caplog):
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {kind}", text, zip=True)
    data = encoded(Image.new("RGB", (3, 3)), "PNG", pnginfo=info)
    assert read_picture(data).metadata == expected
    assert bool(expected) != ("cannot be read and is left out" in caplog.text)


def test_large_and_damaged_texts_of_png_do_not_cost_the_picture(caplog):
    info = PngImagePlugin.PngInfo()
    large = "<x:xmpmeta>" + "x" * 3_000_000 + "</x:xmpmeta>"
    info.add_itxt("XML:com.adobe.xmp", large, zip=True)
    data = encoded(Image.new("RGB", (3, 3)), "PNG", pnginfo=info)
    assert read_picture(data).metadata["xmp"].decode() == large
    plain = encoded(Image.fromarray(noise(5, 4)), "PNG")
    bomb = png([(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))])[8:]
    picture = read_picture(plain[:33] + bomb + plain[33:])
    np.testing.assert_array_equal(picture.pixels, noise(5, 4))
    assert "damaged metadata are left out" in caplog.text


def test_damaged_exif_of_avif_does_not_cost_the_picture(caplog):
    data = encoded(Image.new("RGB", (16, 16), "red"), "AVIF", exif=exif_of({271: "maker"}))
    damaged = data.replace(b"MM\0\x2a", b"XX\0\x2a").replace(b"II\x2a\0", b"XX\x2a\0")
    assert damaged != data
    assert read_picture(damaged).pixels.shape == (16, 16, 3)


def test_tags_of_odd_types_in_tiff_are_read():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[272] = "maker", "model"
    tags.tagtype[700] = 2
    tags[700] = "<x/>"
    picture = read_picture(encoded(Image.new("RGB", (3, 3)), "TIFF", tiffinfo=tags))
    assert to_pil(picture).getexif()[271] == "maker"


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damage_to_exif_never_costs_the_picture(data):
    whole = exif_of({271: "maker", 274: 6, 282: 72.0, 34665: {36867: "2020"}, 34853: {1: "N"}})
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(6, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    picture = Picture(noise(4, 5), metadata={"exif": bytes(damaged[6:])})
    for format in ("TIFF", "PNG", "JPEG", "WEBP", "BMP"):
        back = read_picture(written(to_pil(picture), format))
        assert sorted(back.pixels.shape) == [3, 4, 5]
    assert sorted(upright(picture).shape) == [3, 4, 5]


@pytest.mark.parametrize("metadata", ["none", "icc", "icc,xmp", "all", "exif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_looks_the_same_whatever_metadata_is_kept(tiny_weights, metadata, orientation):
    samples = np.zeros((24, 40, 4), np.uint8)
    samples[:8, :8, 0], samples[..., 3], samples[:12, :, 3] = 255, 200, 90
    image = Image.fromarray(samples)
    image.info["exif"] = exif_of({0x0112: orientation})
    stream = imgcodec.encode(image, model=tiny_weights, metadata=metadata, exact="all")
    shown = ImageOps.exif_transpose(imgcodec.decode(stream))
    assert np.array_equal(np.asarray(shown), np.asarray(ImageOps.exif_transpose(image)))
