"""Likelihood and bytes of digits: means over digits, real files, one family."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from imgcodec.eval import elbo
from tests.codec.conftest import make_tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(make_tiny_weights("convvae", tmp_path_factory.mktemp("convvae")))


@pytest.fixture(scope="module")
def digits():
    return np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)


def test_figures_are_means_over_digits(weights, digits, monkeypatch):
    whole = elbo.elbo_of(weights, digits)
    assert whole["elbo_nats"] == pytest.approx(-whole["kl_nats"] - whole["recon_nats"], rel=1e-5)
    assert whole == elbo.elbo_of(weights, digits)
    # The divergence does not depend on the posterior's samples, so batches cannot change it.
    monkeypatch.setattr(elbo, "BATCH", 3)
    parts = elbo.elbo_of(weights, digits)
    assert parts["kl_nats"] == pytest.approx(whole["kl_nats"], rel=1e-5)


def test_payload_is_the_file_without_its_frame(weights, digits):
    low = elbo.payload_of(weights, digits[:3], 1)
    high = elbo.payload_of(weights, digits[:3], 100)
    assert low[0] < high[0]
    assert low[1] - low[0] == high[1] - high[0] > 0


def test_other_families_are_refused(digits):
    with pytest.raises(ValueError, match="not convvae"):
        elbo.elbo_of("beta", digits)


def test_command_prints_a_line_for_each_quality(weights, digits, tmp_path, monkeypatch, capsys):
    labels = np.zeros(len(digits), np.uint8)
    np.savez(tmp_path / "mnist.npz", test_images=digits, test_labels=labels)
    arguments = ["elbo", weights, "--data", str(tmp_path), "--files", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    elbo.main()
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [int(line["quality"]) for line in lines] == list(elbo.QUALITIES)
    assert len({line["elbo_nats"] for line in lines}) == 1
    assert float(lines[0]["payload_bytes"]) < float(lines[-1]["payload_bytes"])
