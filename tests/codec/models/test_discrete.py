"""The discrete families: stages, rates, hostile choices, and pictures of their codebooks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.families.coders import IntegerCoder
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.eval.looks.codebooks import codebook_sheet, draw_codebook
from tests.codec.conftest import make_tiny_weights, smooth_pictures
from tests.codec.picture.test_sheet import picture_is_on


@pytest.fixture(scope="module", params=["vq", "cv"])
def codes(request, tmp_path_factory):
    weights = make_tiny_weights(request.param, tmp_path_factory.mktemp(request.param))
    return load_model(find_model(weights))


def test_quality_chooses_the_number_of_stages(codes):
    picture = smooth_pictures(1, side=96)[0]
    sizes = [
        len(imgcodec.encode(picture, model=codes.info.path, quality=quality))
        for quality in codes.model.quality_ladder
    ]
    assert len(sizes) == codes.model.num_stages
    assert (np.diff(sizes) > 0).all()
    assert [len(codes.model.passes(q)) for q in (1, 100)] == [1, codes.model.num_stages]


def test_stages_of_a_file_are_previews_of_it(codes):
    picture = smooth_pictures(1, side=96)[0]
    data = imgcodec.encode(picture, model=codes.info.path, quality=100)
    passes = imgcodec.inspect(data, model=codes.info.path, verify=True).passes
    assert [item.name for item in passes] == ["code1", "code2", "code3"]
    previews = [
        np.asarray(imgcodec.decode(data, model=codes.info.path, max_passes=count))
        for count in range(4)
    ]
    whole = np.asarray(imgcodec.decode(data, model=codes.info.path))
    np.testing.assert_array_equal(previews[3], whole)
    assert all((a != b).any() for a, b in itertools.pairwise(previews))


def test_a_choice_beyond_one_is_corrupt(codes):
    class Wrong(IntegerCoder):
        value = 0

        def exchange(self, block, indexes, q):
            return np.full(indexes.shape, self.value, np.int32)

    coder = Wrong(codes.tables)
    for coder.value in (-1, 2, 9):
        with pytest.raises(imgcodec.CorruptStreamError, match="choice"):
            codes.model.code((2, 3), 100, coder)


def test_codes_cost_less_than_their_fixed_length(codes):
    """Measured tables alone see to that: here the prior is untrained."""
    picture = smooth_pictures(6)[2]
    data = imgcodec.encode(picture, model=codes.info.path, quality=100)
    found = imgcodec.inspect(data, model=codes.info.path, verify=True)
    fixed = sum(item.symbols for item in found.passes)
    assert found.estimated_bytes * 8 < fixed


def test_codebook_drawing_shows_every_code_once(codes):
    codes.torch_model.quantisers[0].usage.copy_(torch.arange(64).float())
    drawing = draw_codebook(codes.torch_model, 1)
    assert drawing.num_codes == 64
    assert drawing.patches.shape == (64, 16, 16, 3)
    assert drawing.used_share == pytest.approx(60 / 64)
    assert drawing.perplexity < 64
    sheet = np.asarray(codebook_sheet(drawing, "codes"))
    for patch in drawing.patches[[0, 40]]:
        assert picture_is_on(sheet, patch.repeat(2, 0).repeat(2, 1))
    with pytest.raises(imgcodec.OptionError, match="stages 1 to 3"):
        draw_codebook(codes.torch_model, 4)


def test_later_stages_are_stretched_differences_around_grey(codes):
    drawing = draw_codebook(codes.torch_model, 3)
    assert drawing.contrast > 1 == draw_codebook(codes.torch_model, 1).contrast
    deviation = np.abs(drawing.patches.astype(float) - 127.5)
    assert np.quantile(deviation, 0.98) == pytest.approx(127.5, abs=2)


def test_other_families_have_no_codebook(shipped):
    with pytest.raises(imgcodec.OptionError, match="no codebook"):
        draw_codebook(shipped.torch_model, 1)
