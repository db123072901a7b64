"""FID and KID arithmetic against independent implementations, patches, and honest names."""

from __future__ import annotations

import math
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from imgcodec.eval.metrics import MetricError, MetricOptions
from imgcodec.eval.metrics.backbones import (
    NORMALISED_VGG_FILE,
    normalised_vgg_trunk,
    torchvision_module,
)
from imgcodec.eval.metrics.distribution import (
    create_extractors,
    frechet_distance,
    kernel_distance,
    patches_of,
    set_distance,
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


@pytest.fixture(scope="module")
def patches(data_dir: Path) -> np.ndarray:
    rgb = np.asarray(Image.open(data_dir / "kodak" / "kodim05.png"))
    return patches_of(rgb, 128)


@pytest.fixture(scope="module", params=[("squeeze", 512), ("vgg", 256)], ids=lambda p: p[0])
def backbone(request, data_dir: Path):
    """Name, feature extractor and number of features of a network whose weights are data."""
    name, size = request.param
    names = [f"fid-{name}", f"kid-{name}"]
    extractors = create_extractors(names, MetricOptions(data_root=data_dir))
    assert list(extractors) == [name]
    extract, used = extractors[name]
    assert used == names
    return name, extract, size


def test_equal_sets_are_at_no_distance_and_noise_takes_them_apart(backbone, patches) -> None:
    name, extract, size = backbone
    found = extract(patches)
    assert found.shape == (len(patches), size)
    noise = np.random.default_rng(0).normal(0, 1, patches.shape)
    noisy = [extract(np.clip(patches + s * noise, 0, 255).astype(np.uint8)) for s in (3, 25)]
    same, near, far = (set_distance(f"fid-{name}", found, other) for other in (found, *noisy))
    assert same == pytest.approx(0.0, abs=1e-6 * far)
    assert 0 < near < far
    near, far = (set_distance(f"kid-{name}", found, other) for other in noisy)
    assert near < far > 0


def test_blur_raises_the_distance_more_the_wider_it_is(backbone, patches) -> None:
    name, extract, _ = backbone
    found = extract(patches)

    def blurred(radius: float) -> np.ndarray:
        kernel = ImageFilter.GaussianBlur(radius)
        return np.stack([np.asarray(Image.fromarray(patch).filter(kernel)) for patch in patches])

    near, far = (set_distance(f"fid-{name}", found, extract(blurred(r))) for r in (0.6, 2.0))
    assert 0 < near < far


def test_vgg_features_are_those_of_torchvisions_layers(data_dir: Path) -> None:
    """Layers 0 to 11 of its vgg19 with our weights; where padding cannot reach, the same numbers.

    Its padding is of zeros, ours reflects the picture, so borders are left out.
    """
    from safetensors.torch import load_file

    options = MetricOptions(data_root=data_dir)
    trunk = normalised_vgg_trunk(options)
    state = load_file(data_dir / "weights" / NORMALISED_VGG_FILE)
    theirs = torchvision_module("a test").models.vgg19(weights=None).features[:12].eval()
    convolutions = [layer for layer in theirs if isinstance(layer, torch.nn.Conv2d)]
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
    for layer, name in zip(convolutions, names, strict=True):
        layer.load_state_dict({key: state[f"{name}.{key}"] for key in ("weight", "bias")})
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    bgr = 255.0 * x.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    with torch.inference_mode():
        ours, expected = trunk(x), theirs(bgr)
    assert ours.shape == expected.shape == (1, 256, 16, 16)
    inside = (..., slice(4, -4), slice(4, -4))
    assert torch.allclose(ours[inside], expected[inside], rtol=1e-3, atol=1e-4)
    assert float(expected[inside].std()) > 0.1
    assert not torch.allclose(ours, expected, rtol=1e-3, atol=1e-4)


def test_missing_vgg_weights_say_which_file_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match=NORMALISED_VGG_FILE):
        create_extractors(["fid-vgg"], MetricOptions(weights_dir=tmp_path))


def test_fid_without_inception_weights_points_to_the_other_name(monkeypatch, tmp_path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricError, match="fid-squeeze or fid-vgg, which are other"):
        create_extractors(["fid"], MetricOptions())
    with pytest.raises(MetricError, match="unknown set metric"):
        create_extractors(["fidelity"], MetricOptions())
