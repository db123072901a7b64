"""The discrete families: stages, rates, hostile choices, and pictures of their codebooks."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.families.coders import Count, IntegerCoder
from imgcodec.codec.families.prior import context_of, prior_features, prior_mean
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.models.relaxed import Prefix
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.numeric.exact import EXACT
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.eval.looks.codebooks import codebook_sheet, draw_codebook
from tests.codec.conftest import TINY_SIZES, make_tiny_weights, smooth_pictures
from tests.codec.picture.test_sheet import picture_is_on


@pytest.fixture(scope="module", params=["vq", "cv"])
def codes(request, tmp_path_factory):
    weights = make_tiny_weights(request.param, tmp_path_factory.mktemp(request.param))
    return load_model(find_model(weights))


def test_quality_chooses_the_number_of_stages(codes):
    picture = smooth_pictures(1, side=96)[0]
    sizes = [
        len(imgcodec.encode(picture, model=codes.info.path, quality=quality))
        for quality in codes.model.stage_qualities
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


@pytest.mark.parametrize("family", ["vq", "cv"])
def test_codes_cost_less_than_their_fixed_length(family):
    """Of the installed weights, which have a trained prior."""
    data = imgcodec.encode(smooth_pictures(6)[2], model=family, quality=100)
    found = imgcodec.inspect(data, model=family, verify=True)
    fixed = sum(item.symbols for item in found.passes)
    assert found.estimated_bytes * 8 < 0.7 * fixed


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


def test_codes_are_drawn_on_what_is_expected_where_none_is_known():
    sizes = TINY_SIZES["vq"] | {"stages": 2, "context_mean": True}
    model = build_model("vq", sizes).eval()
    with torch.no_grad():
        for prior, mean in zip(model.priors, (0.3, -0.2), strict=True):
            prior.mean.weight.zero_()
            prior.mean.bias.fill_(mean)
    first, second = (draw_codebook(model, stage) for stage in (1, 2))
    table = model.table(0).float()
    fields = (table[:1] + 0.3)[:, :, None, None].expand(-1, -1, 3, 3)
    side = model.stride_px
    patch = model.synthesis(fields, model.stage_qualities[0])[
        0, :, side : 2 * side, side : 2 * side
    ]
    wanted = patch.detach().mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(first.patches[0], wanted)
    assert len(second.patches) == len(table)


def test_other_families_have_no_codebook(shipped):
    with pytest.raises(imgcodec.OptionError, match="no codebook"):
        draw_codebook(shipped.torch_model, 1)


def _latents(model):
    picture = smooth_pictures(3)[2][:96, :80]
    return model.analysis(np.moveaxis(picture, 2, 0)[None].astype(np.float32) / 255, 100)


def test_codes_chosen_with_their_bits_take_fewer_of_them(codes):
    y = _latents(codes.model)
    prior = copy.copy(codes.model.priors[0])
    prior.node_bias = np.random.default_rng(0).normal(size=prior.node_bias.shape)
    found = []
    for error_bits in (0.0, cost := 20.0):
        model = copy.copy(codes.model)
        model.cfg, model.priors = replace(model.cfg, error_bits=error_bits), [prior]
        coder = Count(codes.tables)
        y_hat = model.code(y.shape[2:], 1, coder, y)
        found.append((coder.bits, float(np.square(y - y_hat).sum())))
    (plain_bits, plain_error), (bits, error) = found
    assert bits < plain_bits
    assert error > plain_error
    assert bits + cost * error < plain_bits + cost * plain_error


def test_the_shipped_routing_chooses_codes_that_cost_little_more_than_the_cheapest():
    """It learns beside the poses: that it does not fall behind them is what training has to do."""
    loaded = load_model(find_model("cv"))
    model = loaded.model
    spent, least = np.zeros(model.num_stages), np.zeros(model.num_stages)

    def quantise(stage, target, mean, features):
        codes = model.encode(stage, target, mean, features)
        vectors = (target - mean).transpose(0, 2, 3, 1).reshape(-1, target.shape[1])
        table = model.table(stage)
        distances = np.square(vectors[:, None] - table).sum(axis=2)
        costs = (
            distances + model.prices(stage, features).reshape(-1, len(table)) / model.cfg.error_bits
        )
        spent[stage] += costs[np.arange(len(costs)), codes.reshape(-1)].sum()
        least[stage] += costs.min(axis=1).sum()
        return codes

    for picture in smooth_pictures(4, side=192):
        y = model.analysis(np.moveaxis(picture, 2, 0)[None].astype(np.float32) / 255, 100)
        coder = Count(loaded.tables)
        model.walk(y, y.shape[2:], model.num_stages, coder, EXACT, quantise)
    assert (spent < 1.01 * least).all()


def test_a_discrete_model_can_start_from_another_one(codes):
    """All but its codes: cv from vq and the other way round."""
    torch.manual_seed(0)
    other = {"vq": "cv", "cv": "vq"}[codes.model.family]
    sizes = TINY_SIZES[other] | {"stages": codes.model.num_stages, "context_mean": True}
    model = build_model(other, sizes)
    pictures = [torch.from_numpy(p).permute(2, 0, 1) / 255.0 for p in smooth_pictures(12, side=96)]
    model.adopt(codes.torch_model.state_dict(), crops := torch.stack(pictures))
    with torch.no_grad():
        y = model.analyse(crops)
        assert torch.allclose(y, codes.torch_model.analyse(crops), atol=1e-5)
        one = torch.nn.functional.one_hot(torch.tensor([1]), model.num_stages).float()
        shown = model.synthesise(y[:1], one)
        assert torch.allclose(shown, codes.torch_model.synthesise(y[:1], one), atol=1e-5)
        errors = [
            float(
                (y - model.walk(y, y.shape[2:], point, model.training_coder(), FLOAT))
                .square()
                .mean()
            )
            for point in range(1, model.num_stages + 1)
        ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.7 * float(y.square().mean())
    tensors = {**codes.torch_model.state_dict(), "y_deviation": torch.zeros(3)}
    with pytest.raises(imgcodec.OptionError, match="y_deviation"):
        model.adopt(tensors, crops)


def test_what_is_missing_of_a_stage_has_the_mean_that_is_predicted(codes):
    model = codes.model
    y = _latents(model)
    one = model.code(y.shape[2:], 1, Count(codes.tables), y)
    begun = model.code(y.shape[2:], 100, Prefix(Count(codes.tables), ["code1"]), y)
    prior, before = model.priors[1], one.astype(np.float64)
    context = context_of(before, 0 * before, np.zeros(y.shape[2:], np.bool_))
    mean = prior_mean(prior, prior_features(prior, context, EXACT), EXACT)
    assert np.abs(mean).max() > 0
    np.testing.assert_array_equal(begun, (before + mean).astype(np.float32))
