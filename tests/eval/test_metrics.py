"""Metrics against independent implementations and known values."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.eval.metrics import MetricError, MetricOptions, create_metrics
from imgcodec.eval.metrics.base import RgbArray
from imgcodec.eval.metrics.pixel import mse, psnr_of_mse

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def noisy(photo_like: RgbArray) -> RgbArray:
    """The picture with noise of about 27 dB."""
    noise = np.random.default_rng(5).normal(0, 11, photo_like.shape)
    return np.clip(photo_like + noise, 0, 255).astype(np.uint8)


def measure(
    name: str, reference: RgbArray, image: RgbArray, options: MetricOptions | None = None
) -> float:
    metric = create_metrics([name], options)[0]
    return metric.measure(metric.prepare(reference), image)[metric.columns[0]]


def test_psnr_agrees_with_its_definition(photo_like, noisy) -> None:
    error = np.mean((photo_like.astype(float) - noisy.astype(float)) ** 2)
    expected = 20 * np.log10(255) - 10 * np.log10(error)
    assert measure("psnr", photo_like, noisy) == pytest.approx(expected, abs=1e-9)


def test_psnr_known_values() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr_of_mse(mse(black, np.full_like(black, 255))) == 0.0
    assert psnr_of_mse(mse(black, np.full_like(black, 1))) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_of_mse(mse(black, black)) == math.inf
    with pytest.raises(ValueError, match="shapes differ"):
        mse(black, black[:3])


def test_ssim_agrees_with_an_independent_implementation(photo_like, noisy) -> None:
    expected = np.mean([_ssim_plane(photo_like[..., c], noisy[..., c])[0] for c in range(3)])
    assert measure("ssim", photo_like, noisy) == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_agrees_with_an_independent_implementation(photo_like, noisy) -> None:
    expected = np.mean([_ms_ssim_plane(photo_like[..., c], noisy[..., c]) for c in range(3)])
    assert measure("ms-ssim", photo_like, noisy) == pytest.approx(expected, abs=1e-4)


def _ssim_plane(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean contrast term of one channel after Wang et al. 2004."""
    from scipy.signal import convolve2d

    tap = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(tap, tap) / tap.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = x.astype(float), y.astype(float)
    mean_x, mean_y = convolve2d(x, window, "valid"), convolve2d(y, window, "valid")
    var_x = convolve2d(x * x, window, "valid") - mean_x**2
    var_y = convolve2d(y * y, window, "valid") - mean_y**2
    covariance = convolve2d(x * y, window, "valid") - mean_x * mean_y
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * contrast).mean()), float(contrast.mean())


def _ms_ssim_plane(x: np.ndarray, y: np.ndarray) -> float:
    """MS-SSIM of one channel after Wang et al. 2003, in NumPy and SciPy alone."""
    result = 1.0
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    for scale, weight in enumerate(weights):
        ssim, contrast = _ssim_plane(x, y)
        result *= (ssim if scale == len(weights) - 1 else contrast) ** weight
        x, y = (
            plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
            .reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2)
            .mean(axis=(1, 3))
            for plane in (x, y)
        )
    return result


def test_equal_pictures_have_the_best_score(photo_like) -> None:
    assert measure("ssim", photo_like, photo_like) == pytest.approx(1.0, abs=1e-6)
    assert measure("ms-ssim", photo_like, photo_like) == pytest.approx(1.0, abs=1e-6)


def test_too_small_pictures_have_no_ms_ssim(photo_like) -> None:
    small = photo_like[:100, :100]
    assert math.isnan(measure("ms-ssim", small, small))
    assert math.isnan(measure("ssim", small[:8], small[:8]))


def test_ssimulacra2_equals_the_package_on_files(photo_like, noisy, tmp_path: Path) -> None:
    package = pytest.importorskip("ssimulacra2")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, picture in zip(paths, (photo_like, noisy), strict=True):
        Image.fromarray(picture).save(path)
    expected = package.compute_ssimulacra2(*map(str, paths))
    assert measure("ssimulacra2", photo_like, noisy) == pytest.approx(expected, abs=1e-9)
    assert measure("ssimulacra2", photo_like, photo_like) == pytest.approx(100.0, abs=1e-6)
    assert expected < 80


def test_lpips_squeeze_equals_the_lpips_package(data_dir: Path) -> None:
    """The package itself, its trunk filled by hand from the same file, gives the same value."""
    from safetensors.torch import load_file

    from imgcodec.eval._torchvision import import_torchvision

    import_torchvision()
    import lpips

    state = load_file(data_dir / "weights" / "squeezenet1_1_features.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    with torch.no_grad():
        for name, parameter in model.net.named_parameters():
            parameter.copy_(state["features." + name.split(".", 1)[1]].float())
    rgb = np.asarray(Image.open(data_dir / "kodak" / "kodim03.png"))[:256, :320]
    other = np.clip(rgb.astype(int) + np.arange(-8, 12, 5)[:, None, None].repeat(64, 0), 0, 255)
    other = other.astype(np.uint8)
    tensors = [
        torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        for picture in (rgb, other)
    ]
    with torch.no_grad():
        expected = float(model(*tensors))
    options = MetricOptions(data_root=data_dir)
    assert measure("lpips-squeeze", rgb, other, options) == pytest.approx(expected, abs=1e-6)
    assert expected > 0.001
    assert measure("lpips-squeeze", rgb, rgb, options) == 0.0
    assert math.isnan(measure("lpips-squeeze", rgb[:20], rgb[:20], options))


@pytest.fixture
def offline(monkeypatch, tmp_path: Path) -> None:
    """No network and an empty torch cache."""
    import urllib.error

    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["lpips", "lpips-squeeze", "lpips-vgg"])
def test_lpips_without_weights_is_a_clear_error(name: str) -> None:
    with pytest.raises(MetricError, match=r"cannot be fetched.*--weights-dir"):
        create_metrics([name], MetricOptions())


@pytest.mark.usefixtures("offline")
def test_incomplete_backbone_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "squeezenet1_1_features.safetensors"
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(MetricError, match=r"weights lack features\."):
        create_metrics(["lpips-squeeze"], MetricOptions(weights_dir=tmp_path))


def test_unknown_and_doubled_metrics_are_refused(data_dir: Path) -> None:
    with pytest.raises(MetricError, match="unknown metric 'vmaf'"):
        create_metrics(["vmaf"])
    with pytest.raises(MetricError, match="both fill the column 'psnr'"):
        create_metrics(["psnr", "psnr"])
