"""The pictures of validation: originals above reconstructions, labelled, large enough to see."""

from __future__ import annotations

import numpy as np
from PIL import Image

from imgcodec.codec.training.validation import save_grid
from tests.codec.conftest import smooth_pictures
from tests.codec.picture.test_sheet import picture_is_on


def test_grid_has_both_pictures_of_every_pair_and_digits_enlarged(tmp_path) -> None:
    digits = [picture[:28, :28] for picture in smooth_pictures(5)]
    pairs = [(picture, 255 - picture) for picture in digits]
    path = tmp_path / "samples" / "step-0000007.png"
    save_grid(pairs, path, "a title")
    grid = np.asarray(Image.open(path))
    for picture in (picture for pair in pairs for picture in pair):
        assert picture_is_on(grid, picture.repeat(3, 0).repeat(3, 1))
    # The left margin holds the labels of the rows.
    assert (grid[50:, 16:70] < 128).any()
