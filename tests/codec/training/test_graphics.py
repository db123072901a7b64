"""Graphics for training: reproducible, of all kinds, with or without fonts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from imgcodec.codec.training import graphics
from imgcodec.codec.training.bank import Augmentation, CropBank
from imgcodec.codec.training.graphics import draw_graphics, font_files


@pytest.fixture(scope="module")
def photograph():
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    return Image.fromarray(noise)


def test_a_seed_gives_one_drawing(photograph):
    first, second, other = (
        draw_graphics(random.Random(seed), 96, photograph).tobytes() for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize("has_fonts", [True, False])
def test_every_kind_is_drawn_and_has_edges(photograph, monkeypatch, has_fonts):
    if not has_fonts:
        monkeypatch.setattr(graphics, "font_files", lambda: ())
    drawn = set()
    for name in ("_page", "_terminal", "_interface", "_chart", "_line_art", "_gradient",
                 "_caption", "_scan"):  # fmt: skip
        original = getattr(graphics._Drawing, name)

        def record(self, name=name, original=original):
            drawn.add(name)
            original(self)

        monkeypatch.setattr(graphics._Drawing, name, record)
    rng = random.Random(3)
    for _ in range(60):
        drawing = draw_graphics(rng, 96, photograph)
        assert (drawing.mode, drawing.size) == ("RGB", (96, 96))
    assert len(drawn) == 8


def test_fonts_are_files():
    assert all(file.suffix in (".ttf", ".otf") for file in font_files())


def test_a_share_of_the_crops_is_drawn():
    black = np.zeros((80, 80, 3), np.uint8)
    bank = CropBank([black], 64, torch.device("cpu"))
    crops = bank.sample(200, random.Random(0), Augmentation(1.0, 0.0, 0.0, graphics_share=0.25))
    assert crops.shape == (200, 3, 64, 64)
    assert 0 <= float(crops.min()) <= float(crops.max()) <= 1
    share = float((crops.amax(dim=(1, 2, 3)) > 0).float().mean())
    assert 0.15 < share < 0.35
