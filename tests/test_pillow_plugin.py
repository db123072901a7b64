"""`import imgcodec.pillow`: Pillow opens, shows and saves .cvb files."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import imgcodec
import imgcodec.pillow
from imgcodec.codec.stream.container import read_stream

EXIF = Image.Exif()
EXIF[0x0112] = 6


@pytest.fixture(scope="module")
def stream(synthetic_rgb):
    """A file with metadata."""
    image = Image.fromarray(synthetic_rgb)
    image.info.update(icc_profile=b"a profile", exif=EXIF.tobytes(), xmp=b"<x/>")
    return imgcodec.encode(image, quality=40)


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_open_shows_what_decode_returns(synthetic_rgb, mode):
    data = imgcodec.encode(Image.fromarray(synthetic_rgb).convert(mode), quality=30)
    image, decoded = opened(data), imgcodec.decode(data)
    assert (image.format, image.mode, image.size) == ("CVB", mode, decoded.size)
    assert image.get_format_mimetype() == "image/x-cvb"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(decoded))
    assert image.tobytes() == decoded.tobytes()


def test_info_is_there_before_the_pixels(stream):
    image = opened(stream)
    assert image.info["quality"] == 40
    header = read_stream(stream).header
    assert image.info["model"] == header.model_hash.hex()
    assert image.info["icc_profile"] == b"a profile"
    assert image.info["xmp"] == b"<x/>"
    assert image.getexif()[0x0112] == 6
    assert image.tile  # not decoded yet
    image.load()
    assert not image.tile


def test_opening_decodes_nothing(stream, tmp_path, root):
    (tmp_path / "a.cvb").write_bytes(stream)
    code = (
        "import sys, imgcodec.pillow\n"
        "from PIL import Image\n"
        "assert Image.open('a.cvb').size == (130, 96)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)}, check=True
    )


def test_files_are_closed_after_loading(stream, tmp_path):
    path = tmp_path / "a.cvb"
    path.write_bytes(stream)
    with Image.open(path) as image:
        pixels = np.asarray(image)
        assert image.fp is None
    np.testing.assert_array_equal(pixels, np.asarray(imgcodec.decode(path)))
    with Image.open(path) as image:
        assert image.resize((13, 9)).size == (13, 9)
        assert image.copy().getpixel((3, 3)) == tuple(pixels[3, 3])


def test_save_takes_quality_targets_and_model(synthetic_rgb, tmp_path):
    image = Image.fromarray(synthetic_rgb)
    image.save(tmp_path / "a.cvb", quality=25)
    assert (tmp_path / "a.cvb").read_bytes() == imgcodec.encode(synthetic_rgb, quality=25)
    buffer = io.BytesIO()
    image.save(buffer, "CVB", target_bytes=1500, model="beta")
    assert buffer.getvalue() == imgcodec.encode(synthetic_rgb, target_bytes=1500, model="beta")
    image.save(tmp_path / "b.cvb")
    assert (tmp_path / "b.cvb").read_bytes() == imgcodec.encode(synthetic_rgb)


def test_metadata_survive_open_and_save(stream):
    buffer = io.BytesIO()
    opened(stream).save(buffer, "CVB", quality=20)
    assert read_stream(buffer.getvalue()).metadata == read_stream(stream).metadata


def test_save_replaces_and_strips_metadata(stream):
    for options, kept in (
        ({"icc_profile": b"another"}, {"icc": b"another", "xmp": b"<x/>"}),
        ({"exif": None, "icc_profile": None}, {"xmp": b"<x/>"}),
        ({"metadata": "none"}, {}),
    ):
        image = opened(stream)
        del image.info["exif"]
        buffer = io.BytesIO()
        image.save(buffer, "CVB", **options)
        assert read_stream(buffer.getvalue()).metadata == kept
        assert image.info["icc_profile"] == b"a profile"


@pytest.mark.parametrize(
    "options", [{"save_all": True}, {"append_images": [Image.new("L", (1, 1))]}]
)
def test_several_frames_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="one frame"):
        Image.new("RGB", (4, 4)).save(tmp_path / "a.cvb", **options)
    assert list(tmp_path.iterdir()) == []


def test_damage_raises_os_error(stream):
    for data in (stream[:10], stream[:4] + b"?" + stream[5:]):
        with pytest.raises(UnidentifiedImageError):
            opened(data)
    damaged = bytearray(stream)
    damaged[-6] ^= 1
    for data in (stream[:-1], bytes(damaged)):
        with pytest.raises(OSError, match=r"stream|chunk") as caught:
            opened(data).load()
        assert isinstance(caught.value.__cause__, imgcodec.CorruptStreamError)


def test_unknown_model_raises_when_loaded(stream):
    import dataclasses

    from imgcodec.codec.stream.container import write_stream

    parsed = read_stream(stream)
    header = dataclasses.replace(parsed.header, model_hash=b"\0\1\2\3")
    image = opened(write_stream(dataclasses.replace(parsed, header=header)))
    with pytest.raises(OSError, match="00010203") as caught:
        image.load()
    assert isinstance(caught.value.__cause__, imgcodec.UnknownModelError)


def test_bombs_are_pillows_business(stream, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        opened(stream)


def test_thumbnails_are_decoded_at_a_scale(synthetic_rgb, monkeypatch):
    """Pillow asks for twice the sides, and shrinks what it gets."""
    from imgcodec.codec import api

    pixels = np.tile(synthetic_rgb, (8, 8, 1))[:330, :500]
    data = imgcodec.encode(pixels, quality=40)
    scales = []

    def spy(source, *, scale, max_pixels):
        scales.append(scale)
        return imgcodec.decode(source, scale=scale, max_pixels=max_pixels)

    monkeypatch.setattr(api, "decode", spy)
    image = Image.open(io.BytesIO(data))
    image.thumbnail((60, 60))
    assert scales == [2]
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    whole.thumbnail((60, 60))
    assert image.size == whole.size == (60, 40)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 2


@pytest.mark.parametrize(
    ("size", "scale", "drafted"),
    [((1, 1), 16, (32, 21)), ((40, 20), 8, (63, 42)), ((500, 2), 1, (500, 330)), (None, 1, None)],
)
def test_a_draft_has_at_least_the_sides_that_were_asked_for(synthetic_rgb, size, scale, drafted):
    pixels = np.tile(synthetic_rgb, (8, 8, 1))[:330, :500]
    image = Image.open(io.BytesIO(imgcodec.encode(pixels, quality=10)))
    found = image.draft("RGB", size)
    assert image.size == (drafted or (500, 330))
    assert found == (None if size is None else ("RGB", (0, 0, 500 / scale, 330 / scale)))
    image.load()
    assert np.asarray(image).shape == (*image.size[::-1], 3)
