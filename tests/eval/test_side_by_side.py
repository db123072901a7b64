"""Sheets of parts of several pictures at one rate."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.errors import OptionError
from imgcodec.eval import side_by_side
from tests.codec.conftest import smooth_pictures


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number, picture in enumerate(smooth_pictures(2, side=288)):
        paths.append(tmp_path / f"waves{number}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


def test_every_picture_has_a_row_of_what_each_codec_made_of_it(pictures, tmp_path, monkeypatch):
    pytest.importorskip("ssimulacra2")
    out = tmp_path / "sheet.png"
    sources = [str(pictures[0]), f"{pictures[1]}@20,30"]
    arguments = ["--codecs", "jpeg,webp", "--bpp", "1.0", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", ["side_by_side", *sources, *arguments])
    side_by_side.main()
    sheet = np.asarray(Image.open(out).convert("RGB"))
    side = side_by_side.SIDE_PX
    assert sheet.shape[0] > 2 * side and sheet.shape[1] > 3 * side
    square = np.asarray(Image.open(pictures[1]))[30 : 30 + side, 20 : 20 + side]
    found = [
        (y, x)
        for y in range(sheet.shape[0] - side + 1)
        for x in range(40)
        if np.array_equal(sheet[y, x : x + side], square[0])
    ]
    assert found
    y, x = found[0]
    assert np.array_equal(sheet[y : y + side, x : x + side], square)


@pytest.mark.parametrize("corner", ["20", "a,b", "200,0"])
def test_a_wrong_corner_is_refused(pictures, corner):
    with pytest.raises(OptionError):
        side_by_side.compared(f"{pictures[0]}@{corner}", [], 1.0, [])
