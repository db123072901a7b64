"""Sheets: every picture is there with its own pixels, text stays beside it, no cell is empty."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.picture.sheet import (
    Heading,
    Panel,
    draw_sheet,
    enlarged,
    full_columns,
    reduced,
    wrap,
)


def picture_is_on(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Return whether a picture is somewhere on a sheet, pixel for pixel."""
    height, width = picture.shape[:2]
    starts = (sheet[: -height or None, : -width or None] == picture[0, 0]).all(axis=-1)
    return any(
        np.array_equal(sheet[y : y + height, x : x + width], picture)
        for y, x in zip(*np.nonzero(starts), strict=True)
    )


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), np.uint8)


def test_every_picture_is_on_the_sheet_with_all_that_is_written_about_it() -> None:
    pictures = [noise(seed, 30 + 10 * seed, 50 - 5 * seed) for seed in range(4)]
    panels = [
        Panel(Image.fromarray(p), (f"a caption, number {k}", "quiet"))
        for k, p in enumerate(pictures)
    ]
    rows = [panels[:3], panels[3:]]
    bare = np.asarray(draw_sheet(rows))
    full = np.asarray(
        draw_sheet(
            rows,
            title="a title",
            note="a note that is wider than all of the pictures side by side on this sheet",
            headings=[
                Heading("one", "#d6254d"),
                Heading("a heading wider than its column"),
                Heading("3"),
            ],
            labels=["first", "second"],
        )
    )
    for picture in pictures:
        assert picture_is_on(bare, picture)
        assert picture_is_on(full, picture)
    assert full.shape[0] > bare.shape[0] and full.shape[1] > bare.shape[1]
    for sheet in (bare, full):
        edges = np.concatenate([sheet[:8].ravel(), sheet[-8:].ravel(), sheet[:, -8:].ravel()])
        assert (edges == 255).all()
    assert (full == (0xD6, 0x25, 0x4D)).all(axis=-1).any()


def test_pictures_are_enlarged_by_whole_factors_and_reduced_to_fit() -> None:
    picture = noise(0, 28, 32)
    large = enlarged(Image.fromarray(picture), 64)
    np.testing.assert_array_equal(np.asarray(large), picture.repeat(3, 0).repeat(3, 1))
    assert enlarged(Image.fromarray(picture), 28).size == (32, 28)
    assert reduced(Image.new("RGBA", (100, 50)), 20).size == (20, 10)
    assert reduced(Image.new("L", (10, 5)), 20).size == (10, 5)


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 5), (6, 3), (8, 4), (9, 3)]
)
def test_rows_without_an_empty_cell(count: int, columns: int) -> None:
    assert full_columns(count) == columns
    assert {len(row) for row in wrap(range(count), columns)} == {columns}


def test_what_the_font_does_not_have_is_spelt() -> None:
    panel = Panel(Image.new("RGB", (300, 8), "white"))
    first, second = (
        np.asarray(draw_sheet([[panel]], title=t))
        for t in ("\N{MINUS SIGN}3 \N{MULTIPLICATION SIGN}†", "-3 x*")
    )
    np.testing.assert_array_equal(first, second)
