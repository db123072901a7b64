"""The picture after each level, or after each pass of a file with one level."""

from __future__ import annotations

import numpy as np
import pytest

import imgcodec
from imgcodec.codec.stream.container import read_stream
from tests.codec.conftest import smooth_pictures


@pytest.fixture(scope="module")
def data(family_weights) -> bytes:
    pixels = np.dstack([smooth_pictures(1)[0][:70, :90], np.full((70, 90), 7, np.uint8)])
    return imgcodec.encode(pixels, model=family_weights, quality=80)


def test_steps_end_in_the_whole_picture_and_the_whole_file(data, family_weights):
    steps = list(imgcodec.preview(data, model=family_weights))
    assert steps[-1].num_bytes == len(data)
    whole = imgcodec.decode(data, model=family_weights)
    assert steps[-1].image.tobytes() == whole.tobytes()
    sizes = [step.num_bytes for step in steps]
    assert sizes == sorted(sizes)
    assert sizes[0] > 20
    assert len({step.name for step in steps}) == len(steps)
    assert all((step.image.size, step.image.mode) == ((90, 70), "RGBA") for step in steps)


def test_steps_are_levels_where_there_are_several_and_else_passes(data, family_weights):
    steps = list(imgcodec.preview(data, model=family_weights))
    num_levels = len(read_stream(data).levels)
    if num_levels > 1:
        assert [step.name for step in steps] == [f"level{k + 1}" for k in range(num_levels)]
        for step in steps:  # the bytes are those of a file that shows the picture
            cut = imgcodec.decode(
                data[: step.num_bytes], model=family_weights, allow_truncated=True
            )
            assert cut.tobytes() == step.image.tobytes()
    else:
        found = imgcodec.inspect(data, verify=True, model=str(family_weights))
        assert [step.name for step in steps] == [entry.name for entry in found.passes]


def test_errors_are_those_of_decode(data, family_weights):
    with pytest.raises(imgcodec.CorruptStreamError):
        list(imgcodec.preview(data[:-1], model=family_weights))
    with pytest.raises(imgcodec.UnknownModelError):
        list(imgcodec.preview(data, model=family_weights, decoder="nosuch"))
