"""Heatmaps: the picture shines through, the scale holds every value, the legend is there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.picture.heatmap import colours_of, draw_heatmap

INFERNO_ENDS = ((24, 15, 61), (252, 255, 164))


def test_lightness_rises_with_the_bits() -> None:
    colours = colours_of(np.linspace(0.0, 1.0, 50)).astype(float)
    lightness = colours @ (0.299, 0.587, 0.114)
    assert (np.diff(lightness) > 0).all()
    assert (tuple(colours[0]), tuple(colours[-1])) == INFERNO_ENDS


@pytest.mark.parametrize("peak", [0.0, 0.013, 0.97, 1.0, 7.3])
def test_the_largest_value_is_not_clipped_and_the_picture_is_seen(peak: float) -> None:
    bits = np.array([[0.0, 0.5, 0.98, 1.0]]) * peak
    picture = np.zeros((16, 60, 3), np.uint8)
    picture[8:] = 255
    sheet = np.asarray(draw_heatmap(bits, 16, Image.fromarray(picture))).astype(int)
    top, left = 16, 16
    cells = sheet[top : top + 16, left : left + 60]
    dark, light = cells[:8, ::16].reshape(8, 4, 3)[0], cells[8:, ::16].reshape(8, 4, 3)[0]
    assert (light - dark == 102).all()  # 0.4 of white
    if peak:
        assert (dark[2] != dark[3]).any()
        assert dark.sum(axis=1)[0] < dark.sum(axis=1)[1] < dark.sum(axis=1)[3]
    assert sheet.shape[0] > top + 16 + 40 and (sheet[top + 16 + 20 :] < 128).any()
