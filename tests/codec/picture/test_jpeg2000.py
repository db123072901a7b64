"""White of deep JPEG 2000 files stays white."""

import numpy as np
import pytest

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.read import read_picture

imagecodecs = pytest.importorskip("imagecodecs")


def ends(bits, channels):
    """Return samples in which black and white, and what is next to them, abound."""
    top = 2**bits - 1
    near = np.random.default_rng(bits).integers(0, max(2, top // 300), (64, 64, channels))
    is_white = np.arange(64)[:, None, None] // 8 % 2 == 1
    middle = np.linspace(0, top, 64)[:, None, None] * np.ones((64, 64, channels))
    half = np.arange(64)[None, :, None] < 32
    return np.where(half, np.where(is_white, top - near, near), middle).astype(np.uint16)


@pytest.mark.parametrize("options", [{"level": 0}, {"level": 60, "reversible": False}], ids=str)
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_white_of_deep_files_is_white(bits, channels, options):
    data = imagecodecs.jpeg2k_encode(ends(bits, channels), bitspersample=bits, **options)
    expected = imagecodecs.jpeg2k_decode(data) * (255 / (2**bits - 1))
    picture = read_picture(data)
    colours = expected[..., :-1] if channels != 3 else expected
    assert np.abs(picture.pixels - colours).max() < 1.5
    if channels != 3:
        assert np.abs(picture.alpha - expected[..., -1]).max() < 1.5


def test_what_cannot_be_told_apart_is_refused():
    data = imagecodecs.jpeg2k_encode(ends(12, 3), bitspersample=12, level=0)
    damaged = data.replace(b"\xff\x52\x00\x0c", b"\xff\x53\x00\x0c")  # COD becomes COC
    assert damaged != data
    with pytest.raises(ImageFormatError):
        read_picture(damaged)
