"""The quality scale: looks at given qualities, from the lowest rate to the highest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imgcodec.codec.numeric.rate import RateAxis
from imgcodec.codec.training import calibration
from imgcodec.codec.training.calibration import LOOKS, calibrate_quality
from tests.codec.conftest import smooth_pictures


def test_qualities_have_their_looks(tiny, monkeypatch):
    """With a score that is known for each position, the chosen positions have the right ones."""
    axis = replace(tiny.model.axis, positions=())
    monkeypatch.setattr(tiny.model, "axis", axis)
    last = axis.position(100)

    def score_of(position):
        return -20 + 112 * (position / last) ** 0.5

    def score(model, picture, quality, tables):
        return score_of(axis.position(quality)) + len(picture) * 0

    monkeypatch.setattr(calibration, "_score", score)
    positions, scores = calibrate_quality(tiny.model, tiny.tables, smooth_pictures(3))
    assert len(scores) == len(calibration.MEASURED)
    assert (positions[0], positions[-1]) == (0, last)
    assert list(positions) == sorted(positions)
    for quality, wanted in LOOKS:
        assert score_of(positions[quality - 1]) == pytest.approx(wanted, abs=3)


def test_exported_weights_carry_their_scale(tiny):
    assert len(tiny.model.axis.positions) == 100
    assert tiny.model.axis.position(100) == 64 * (tiny.model.cfg.num_anchors - 1)
    assert tiny.model.level_of(37) == tiny.model.axis.position(37) / 64


def test_positions_that_fall_or_lead_beyond_the_ends_are_refused():
    rising = tuple(range(100))
    assert RateAxis(8, 0.001, 0.1, rising).position(100) == 99
    for wrong in (rising[:-1], tuple(reversed(rising)), (*rising[:-1], 449)):
        with pytest.raises(ValueError, match="100 rising numbers from 0 to 448"):
            RateAxis(8, 0.001, 0.1, wrong)
    assert np.all(np.diff([RateAxis(8, 0.001, 0.1).position(q) for q in range(1, 101)]) > 0)
