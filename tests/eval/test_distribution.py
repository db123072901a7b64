"""FID and KID arithmetic against independent implementations, patches, and honest names."""

from __future__ import annotations

import math
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from imgcodec.eval.metrics import MetricError, MetricOptions
from imgcodec.eval.metrics.distribution import (
    create_extractors,
    frechet_distance,
    kernel_distance,
    patches_of,
)

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    mixing = generator.normal(size=(12, 12))
    first = generator.normal(size=(400, 12)) @ mixing
    second = 1.3 * generator.normal(size=(300, 12)) @ mixing + 0.5
    return first.astype(np.float32), second.astype(np.float32)


def test_frechet_distance_agrees_with_its_formula(features) -> None:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the root by SciPy."""
    from scipy.linalg import sqrtm

    (m1, s1), (m2, s2) = (
        (part.mean(axis=0), np.cov(part.astype(float), rowvar=False)) for part in features
    )
    root = np.real(sqrtm(s1 @ s2))
    expected = np.sum((m1 - m2) ** 2) + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(*features) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(features[0], features[0]) == pytest.approx(0.0, abs=1e-4)


def test_kernel_distance_agrees_with_its_formula(features) -> None:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3."""
    first, second = (part[:300].astype(float) for part in features)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    count = len(first)
    inside = [
        (k.sum() - np.trace(k)) / (count * (count - 1))
        for k in (kernel(first, first), kernel(second, second))
    ]
    expected = sum(inside) - 2 * kernel(first, second).mean()
    found = kernel_distance(features[0][:300], features[1][:300])
    assert found == pytest.approx(expected, rel=1e-3)


def test_distances_of_too_few_patches_are_nan() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert math.isnan(frechet_distance(empty, empty))
    assert math.isnan(kernel_distance(empty[:1], empty))


def test_patches_are_two_grids_half_a_patch_apart() -> None:
    rgb = np.arange(512 * 768 * 3, dtype=np.uint32).reshape(512, 768, 3).astype(np.uint8)
    patches = patches_of(rgb)
    assert patches.shape == (6 + 2, 256, 256, 3)
    assert np.array_equal(patches[1], rgb[:256, 256:512])
    assert np.array_equal(patches[6], rgb[128:384, 128:384])
    assert len(patches_of(rgb[:255])) == 0


def test_squeezenet_features_separate_noise_from_the_picture(data_dir: Path) -> None:
    from PIL import Image

    (extract, names) = create_extractors(
        ["fid-squeeze", "kid-squeeze"], MetricOptions(data_root=data_dir)
    )["squeeze"]
    assert names == ["fid-squeeze", "kid-squeeze"]
    rgb = np.asarray(Image.open(data_dir / "kodak" / "kodim05.png"))
    originals = patches_of(rgb, 128)
    noise = np.random.default_rng(0).normal(0, 1, originals.shape)
    found = extract(originals)
    assert found.shape == (len(originals), 512)
    near, far = (
        frechet_distance(found, extract(np.clip(originals + s * noise, 0, 255).astype(np.uint8)))
        for s in (3, 25)
    )
    assert 0 < near < far


def test_fid_without_inception_weights_points_to_the_other_name(monkeypatch, tmp_path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricError, match="fid-squeeze, which is another number"):
        create_extractors(["fid"], MetricOptions())
    with pytest.raises(MetricError, match="unknown set metric"):
        create_extractors(["fidelity"], MetricOptions())
