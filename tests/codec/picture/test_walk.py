"""Every format that Pillow writes, with every mode: the same picture, or a reason why not."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

import imgcodec
from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.colour import make_profile
from imgcodec.codec.picture.metadata import parse_exif
from imgcodec.codec.picture.read import read_picture
from imgcodec.codec.picture.write import write_image
from tests.codec.pictures import encoded, noise

Image.init()
WRITERS = sorted(set(Image.SAVE) - {"CVB"})
OUR_MODES = ("L", "LA", "RGB", "RGBA")
SIZES = [(24, 40), (33, 17), (1, 1), (1, 9), (7, 1)]  # (height, width)
MAX_ERROR = {"JPEG": 30, "MPO": 30, "AVIF": 4}
"""In levels, on noise; all other formats are exact."""
COLOUR_FORMATS = {"AVIF", "WEBP", "QOI"}
"""They come back as RGB, whose three channels are equal."""
UNREADABLE = {"EPS", "PDF"}
"""Pillow does not open them here: Ghostscript, no reader."""
P3 = make_profile((0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), 2.2)
HOLD_METADATA = {"AVIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"}
NOT_FOR_PICTURES = {"BLP", "BUFR", "GRIB", "HDF5", "MSP", "PALM", "SPIDER", "WMF", "XBM"}
OPAQUE_FORMATS = {"BMP", "DIB", "EPS", "GIF", "JPEG", "MPO", "PCX", "PPM"}


def is_refused(format, image):
    """Return whether a format cannot hold a picture, by README."""
    if format in NOT_FOR_PICTURES or (format in OPAQUE_FORMATS and "A" in image.mode):
        return True
    if format == "GIF":
        return image.mode == "RGB" and len(image.getcolors(1 << 20)) > 256
    return format == "ICNS" and image.size != (1024, 1024)


def image_of(mode, size):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    return Image.fromarray(noise(*size, channels))


def written(image, format, **options):
    buffer = io.BytesIO()
    write_image(image, buffer, format, **options)
    return buffer.getvalue()


def rgba(image):
    return np.asarray(image.convert("RGBA")).astype(int)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", OUR_MODES)
@pytest.mark.parametrize("format", WRITERS)
def test_what_is_written_is_the_picture(format, mode, size):
    image = image_of(mode, size)
    if is_refused(format, image):
        with pytest.raises(ImageFormatError) as caught:
            written(image, format)
        assert "\n" not in str(caught.value)
        return
    data = written(image, format)
    if format in UNREADABLE:
        return
    with Image.open(io.BytesIO(data)) as back:
        assert back.size == image.size
        error = np.abs(rgba(back) - rgba(image))
        assert error.max() <= MAX_ERROR.get(format, 0)
        assert error[..., 3].max() == 0
        is_gray = back.mode in ("L", "LA")
        as_colours = format in COLOUR_FORMATS or (format, mode) == ("SGI", "LA")
        assert is_gray == (mode in ("L", "LA") and not as_colours)


@pytest.mark.parametrize("format", WRITERS)
def test_a_format_that_says_it_holds_pictures_holds_some(format):
    """So that the walk above cannot pass by refusing everything."""
    size = (1024, 1024) if format == "ICNS" else (24, 40)
    if format in NOT_FOR_PICTURES:
        with pytest.raises(ImageFormatError, match=f"not written as {format}"):
            written(image_of("L", size), format)
        return
    for mode in ("L", "RGB"):
        image = image_of(mode, size)
        if format == "GIF":
            image = image.quantize(200).convert(mode)
        data = written(image, format)
        if format not in UNREADABLE:
            with Image.open(io.BytesIO(data)) as back:
                assert np.abs(rgba(back) - rgba(image)).max() <= MAX_ERROR.get(format, 0)


@pytest.mark.parametrize("format", ["BMP", "DIB", "GIF", "JPEG", "MPO", "PCX", "PPM", "EPS"])
def test_transparency_is_refused_or_flattened_on_purpose(format):
    image = image_of("LA", (24, 40))
    for mode in ("LA", "RGBA"):
        with pytest.raises(ImageFormatError, match=r"no transparency.*background"):
            written(image.convert(mode), format)
    expected = Image.new("RGBA", image.size, "white")
    expected.alpha_composite(image.convert("RGBA"))
    data = written(image, format, background="white")
    if format not in UNREADABLE:
        with Image.open(io.BytesIO(data)) as back:
            assert back.mode == "L"
            assert np.abs(rgba(back) - rgba(expected)).max() <= MAX_ERROR.get(format, 0)


def test_a_background_flattens_where_transparency_could_stay():
    image = Image.new("RGBA", (3, 2), (0, 0, 0, 0))
    with Image.open(io.BytesIO(written(image, "PNG", background="#ff8000"))) as back:
        assert (back.mode, back.getpixel((1, 1))) == ("RGB", (255, 128, 0))
    gray = Image.new("LA", (3, 2), (0, 0))
    with Image.open(io.BytesIO(written(gray, "PNG", background="red"))) as back:
        assert (back.mode, back.getpixel((1, 1))) == ("RGB", (255, 0, 0))
    for colour in ("colour", "#ff800080", ""):
        with pytest.raises(ValueError, match="no colour"):
            written(image, "PNG", background=colour)


@pytest.mark.parametrize(
    ("format", "size", "text"),
    [
        ("ICO", (200, 300), "at most 256"),
        ("ICNS", (256, 256), "1024 x 1024"),
        ("GIF", (30, 30), "256 colours"),
    ],
)
def test_what_would_be_resized_or_reduced_is_refused(format, size, text):
    with pytest.raises(ImageFormatError, match=text):
        written(image_of("RGB", size), format)


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_a_suffix_of_codestreams_gets_a_codestream(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    write_image(image_of("RGB", (24, 40)), path)
    assert path.read_bytes().startswith(b"\xff\x4f\xff\x51") == (suffix == ".j2k")


def tagged(mode):
    image = image_of(mode, (24, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "maker", {1: "N", 2: (1.0, 2.0, 3.0)}
    exif[0x8769] = {0x9003: "2020:02:02 02:02:02"}
    image.info.update(icc_profile=P3, exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
    return image


@pytest.mark.parametrize("mode", OUR_MODES)
@pytest.mark.parametrize("format", WRITERS)
def test_metadata_stay_or_are_applied(format, mode, caplog):
    image = tagged(mode)
    caplog.set_level(logging.INFO)
    if is_refused(format, image):
        return
    data = written(image, format)
    if format in UNREADABLE:
        return
    with Image.open(io.BytesIO(data)) as back:
        if format in HOLD_METADATA:
            assert caplog.messages == []
            assert back.info["icc_profile"] == P3
            assert back.info["xmp"] == b"<x:xmpmeta/>"
            exif = back.getexif()
            assert (exif[0x0112], exif[0x010F]) == (6, "maker")
            assert exif.get_ifd(0x8769)[0x9003] == "2020:02:02 02:02:02"
            assert exif.get_ifd(0x8825)[1] == "N"
            upright = ImageOps.exif_transpose(image) if format == "TIFF" else image
            back.load()
            error = np.abs(rgba(back) - rgba(upright))
            assert error.max() <= MAX_ERROR.get(format, 0)
            assert error[..., 3].max() == 0
            return
        assert any("has no place for that" in text for text in caplog.messages)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(P3))
        rgb, srgb = image.convert("RGB"), ImageCms.createProfile("sRGB")
        expected = ImageCms.profileToProfile(rgb, profile, srgb)
        turned = expected.transpose(Image.Transpose.ROTATE_270)
        assert back.size == (24, 40)
        assert np.abs(rgba(back.convert("RGB")) - rgba(turned)).max() <= 2
        if "A" in mode:
            alpha = image.getchannel("A").transpose(Image.Transpose.ROTATE_270)
            np.testing.assert_array_equal(rgba(back)[..., 3], np.asarray(alpha))


# ---- reading -------------------------------------------------------------------------------

WIDE_MODES = ("I", "I;16", "I;16B", "F")
PILLOW_MODES = sorted({*Image.MODES, *WIDE_MODES} - {"I;16L", "I;16N"})
GRAY_MODES = {"1", "L", "LA", *WIDE_MODES}
MAKER, ORIENTATION, EXIF_IFD, GPS_IFD = 0x010F, 0x0112, 0x8769, 0x8825
XMP = b"<x:xmpmeta/>"


def of_mode(mode):
    """Return a picture of a mode; that of wide modes is a grey one of 8 bits, spread."""
    base = Image.fromarray(noise(23, 37, 4))
    samples = noise(23, 37, 1).astype(np.uint16) * 257
    if mode == "F":
        return Image.fromarray((samples / 65535).astype(np.float32))
    if mode in WIDE_MODES:
        return Image.fromarray(samples.astype({"I": "i4", "I;16": "<u2", "I;16B": ">u2"}[mode]))
    if mode == "LAB":
        return Image.merge("LAB", base.split()[:3])
    if mode == "PA":
        return base.convert("RGB").quantize(64).convert("PA")
    if mode == "La":
        return base.convert("LA").convert("La")
    return base.convert("RGBA" if mode in ("1", "L", "LA", "RGBA", "RGBa") else "RGB").convert(mode)


def as_pillow_writes(format, mode):
    """Return a file with all kinds of metadata, None where Pillow's writer does not take the mode.

    Some writers take neither mode nor metadata, so that both are asked of the file again.
    """
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER], exif[GPS_IFD] = 6, "maker", {1: "N"}
    exif[EXIF_IFD] = {0x9003: "2020:02:02 02:02:02"}
    options = {"icc_profile": P3, "exif": exif, "xmp": XMP}
    if format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if format == "TIFF":
        exif[700] = XMP
        options["exif"] = parse_exif(exif.tobytes())  # directories as the writer wants them
    try:
        return encoded(of_mode(mode), format, **options)
    except Exception:  # Pillow's writers raise whatever they like
        return None


def tags_of(image):
    """Return what a picture's EXIF says of camera, time and place."""
    exif = image.getexif()
    return (
        exif.get(MAKER),
        dict(exif.get_ifd(EXIF_IFD)).get(0x9003),
        dict(exif.get_ifd(GPS_IFD)).get(1),
        exif.get(ORIENTATION, 1),
    )


def as_shown(image):
    """Return RGBA of a loaded image of any mode by Pillow's conversions alone."""
    if image.mode.startswith(("I", "F")):
        gray = Image.fromarray(noise(23, 37, 1))
        return rgba(gray if image.size == gray.size else gray.transpose(Image.Transpose.ROTATE_270))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return rgba(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    return rgba(image)


def read_back():
    """Yield formats and modes; pictures of ICNS have 1024 px a side, so that two of them serve."""
    for format in WRITERS:
        for mode in PILLOW_MODES:
            is_large = format == "ICNS" and mode in {"1", "LA", "RGB", "RGBA"}
            yield pytest.param(format, mode, marks=[pytest.mark.slow] if is_large else [])


@pytest.mark.parametrize(("format", "mode"), list(read_back()))
def test_what_pillow_wrote_comes_back_as_pillow_shows_it(format, mode, tiny_weights):
    data = as_pillow_writes(format, mode)
    if data is None:
        return
    try:
        opened = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        with pytest.raises(ImageFormatError):
            read_picture(data)
        return
    if format in UNREADABLE | {"WMF", "BUFR", "GRIB", "HDF5"}:  # stubs, which open without a loader
        return
    opened.load()
    if opened.mode == "P" and opened.palette is None:  # of an ICNS file
        opened.putpalette(opened.im.getpalette())
    is_gray = opened.mode in GRAY_MODES
    has_alpha = opened.has_transparency_data
    try:
        back = imgcodec.decode(imgcodec.encode(data, model=tiny_weights, exact="all"))
    except ImageFormatError as error:
        assert opened.mode in WIDE_MODES
        assert (opened.format, opened.mode) not in SAY_WHAT_IS_WHITE
        assert "\n" not in str(error)
        return
    assert back.size == opened.size
    assert back.mode == ("L" if is_gray else "RGB") + ("A" if has_alpha else "")
    np.testing.assert_array_equal(rgba(back), as_shown(opened))
    has_its_profile = opened.mode not in ("CMYK", "LAB")
    assert back.info.get("icc_profile") == (
        opened.info.get("icc_profile") if has_its_profile else None
    )
    assert tags_of(back) == tags_of(opened)
    assert back.info.get("xmp") == opened.info.get("xmp", opened.info.get("XML:com.adobe.xmp"))


SAY_WHAT_IS_WHITE = {
    *((format, "I;16") for format in ("IM", "JPEG2000", "PNG", "PPM", "TIFF")),
    ("PPM", "I"),
    ("PPM", "F"),
    ("TIFF", "I;16B"),
    ("TIFF", "F"),
}
"""Or Pillow scales what they hold."""


def test_the_walk_sees_metadata_and_modes():
    """So that it cannot pass where writers drop everything."""
    for format in HOLD_METADATA - {"MPO"}:
        with Image.open(io.BytesIO(as_pillow_writes(format, "RGB"))) as image:
            image.load()
            assert image.info["icc_profile"] == P3
            assert tags_of(image)[:3] == ("maker", "2020:02:02 02:02:02", "N")
            assert XMP in (image.info.get("xmp"), image.info.get("XML:com.adobe.xmp", "").encode())
    modes = {"PNG": 6, "TIFF": 13, "WEBP": 6, "GIF": 6, "JPEG": 4, "JPEG2000": 5}
    for format, count in modes.items():
        assert sum(as_pillow_writes(format, mode) is not None for mode in PILLOW_MODES) >= count


@pytest.mark.parametrize("mode", OUR_MODES)
def test_pdf_holds_jpeg_of_full_colour_or_jpeg2000(mode):
    image = image_of(mode, (24, 40))
    data = written(image, "PDF")
    start = data.index(b"\xff\xd8" if mode in ("L", "RGB") else b"\0\0\0\x0cjP")
    with Image.open(io.BytesIO(data[start:])) as inside:
        error = np.abs(rgba(inside) - rgba(image))
        assert error.max() <= (30 if mode in ("L", "RGB") else 0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_eps_holds_the_samples(mode):
    image = image_of(mode, (24, 40))
    text = written(image, "EPS").decode("latin-1")
    digits = text.split("image\n", 1)[1]
    assert bytes.fromhex(digits.split("%")[0]) == image.tobytes()


def test_the_orientation_that_is_applied_is_that_of_viewers():
    image = tagged("RGB")
    expected = ImageOps.exif_transpose(image)
    with Image.open(io.BytesIO(written(image, "TIFF"))) as back:
        np.testing.assert_array_equal(np.asarray(back), np.asarray(expected))
    assert parse_exif(image.info["exif"])[0x0112] == 6
