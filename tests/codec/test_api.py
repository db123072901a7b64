"""Pictures to bytes and back through the library."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import imgcodec
from imgcodec.codec.stream.container import read_stream
from tests.codec.conftest import smooth_pictures


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), quality=st.integers(1, 100))
def test_every_size_round_trips(family_weights, height, width, quality):
    pixels = smooth_pictures(1)[0][:height, :width]
    data = imgcodec.encode(pixels, model=family_weights, quality=quality)
    back = imgcodec.decode(data, model=family_weights)
    assert back.size == (width, height)
    assert back.mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (17, 530)])
def test_extreme_shapes_round_trip(size):
    pixels = np.full((*size, 3), (200, 90, 30), np.uint8)
    back = np.asarray(imgcodec.decode(imgcodec.encode(pixels, quality=80)))
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).max() <= 6


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_modes_come_back_as_they_are_shown(mode):
    rgb = Image.fromarray(smooth_pictures(1)[0])
    image = Image.new("I;16", (64, 64), 40000) if mode == "I;16" else rgb.convert(mode)
    back = imgcodec.decode(imgcodec.encode(image, quality=90))
    expected = {"L": "L", "LA": "LA", "RGBA": "RGBA", "1": "L", "I;16": "L"}.get(mode, "RGB")
    assert (back.mode, back.size) == (expected, image.size)


def test_alpha_and_metadata_survive():
    rgb = smooth_pictures(1)[0]
    alpha = np.arange(128 * 128, dtype=np.uint8).reshape(128, 128)
    image = Image.fromarray(np.dstack([rgb, alpha]))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif, icc_profile=b"profile bytes")
    data = imgcodec.encode(buffer.getvalue(), quality=70)
    back = imgcodec.decode(data)
    np.testing.assert_array_equal(np.asarray(back)[..., 3], alpha)
    assert back.info["icc_profile"] == b"profile bytes"
    assert back.getexif()[0x010F] == "Maker"
    stripped = imgcodec.decode(imgcodec.encode(buffer.getvalue(), metadata="none"))
    assert "icc_profile" not in stripped.info
    assert len(data) > len(imgcodec.encode(buffer.getvalue(), quality=70, metadata="none"))


def test_all_kinds_of_sources_agree(tmp_path):
    pixels = smooth_pictures(1)[0]
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as file:
        results = [
            imgcodec.encode(source)
            for source in (pixels, path, str(path), file, path.read_bytes(), Image.open(path))
        ]
    assert len(set(results)) == 1
    stream = tmp_path / "a.cvb"
    stream.write_bytes(results[0])
    from_path = np.asarray(imgcodec.decode(stream))
    np.testing.assert_array_equal(from_path, np.asarray(imgcodec.decode(io.BytesIO(results[0]))))


@pytest.mark.parametrize("quality", [0, 101, 50.5, "60"])
def test_bad_quality_is_a_value_error(quality):
    with pytest.raises(ValueError, match="quality"):
        imgcodec.encode(np.zeros((8, 8, 3), np.uint8), quality=quality)


def test_quality_raises_rate_and_fidelity():
    picture = smooth_pictures(2, side=192)[1]
    noisy = picture + np.random.default_rng(0).normal(0, 6, picture.shape)
    picture = noisy.clip(0, 255).astype(np.uint8)
    sizes, psnrs = [], []
    for quality in range(5, 101, 19):
        data = imgcodec.encode(picture, quality=quality)
        sizes.append(len(data))
        psnrs.append(_psnr(np.asarray(imgcodec.decode(data)), picture))
    assert (np.diff(sizes) > 0).all()
    assert (np.diff(psnrs) > 0).all()


def test_bytes_agree_with_the_likelihood_and_overhead_is_small():
    picture = smooth_pictures(1, side=256)[0]
    for quality in (1, 30, 60, 100):
        data = imgcodec.encode(picture, quality=quality)
        found = imgcodec.inspect(data, verify=True)
        assert abs(len(data) - found.estimated_bytes) <= 0.01 * found.estimated_bytes + 48
        payload = sum(len(tile) for segment in read_stream(data).segments for tile in segment)
        assert len(data) - payload <= 32
        assert sum(chunk.bytes for chunk in found.chunks) == len(data) == found.file_bytes


def test_inspect_without_verifying_needs_no_model(tiny_weights):
    data = imgcodec.encode(smooth_pictures(1)[0], model=tiny_weights)
    found = imgcodec.inspect(data)
    assert found.model is None
    assert found.integers_sha256 is None
    assert imgcodec.inspect(data, model=tiny_weights).model == "beta-tiny-1"
    with pytest.raises(imgcodec.UnknownModelError):
        imgcodec.inspect(data, verify=True)
    with pytest.raises(imgcodec.UnknownModelError):
        imgcodec.decode(data)


def test_heatmap_shows_where_the_bits_went():
    picture = np.full((128, 128, 3), 120, np.uint8)
    generator = np.random.default_rng(0)
    picture[:, 64:] = generator.integers(0, 255, (128, 64, 3))
    found = imgcodec.inspect(imgcodec.encode(picture, quality=70), heatmap=True)
    assert found.heatmap.shape == (8, 8)
    assert found.heatmap[:, 5:].mean() > 4 * found.heatmap[:, :3].mean()
    payload_bpp = 8 * found.estimated_bytes / 128**2
    assert found.heatmap.mean() == pytest.approx(payload_bpp)


def test_more_passes_give_a_better_preview():
    picture = smooth_pictures(3, side=192)[2]
    data = imgcodec.encode(picture, quality=60)
    psnrs = [
        _psnr(np.asarray(imgcodec.decode(data, max_passes=count)), picture) for count in range(10)
    ]
    assert psnrs[9] == _psnr(np.asarray(imgcodec.decode(data)), picture)
    assert psnrs[0] < psnrs[2] < psnrs[4] < psnrs[7] < psnrs[9]


def test_listed_models_are_within_the_decoding_budget():
    models = imgcodec.list_models()
    assert "beta" in {model.family for model in models}
    for model in models:
        assert 0 < model.kmac_decode <= 40
        assert model.licence
        assert model.provenance
