"""CVVDP, HaarPSI and VIF against their packages, and what all judges have in common."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.eval._torchvision import import_torchvision
from imgcodec.eval.metrics import Metric, MetricError, MetricOptions, create_metrics
from imgcodec.eval.metrics.base import RgbArray
from imgcodec.eval.quality import QUALITIES, Quality, quality_of

torch = pytest.importorskip("torch")


def judge(column: str, data_dir: Path | None = None) -> Metric:
    """Return the metric of a column; skipped where its package is missing."""
    quality = quality_of(column)
    if not quality.is_installed:
        pytest.skip(f"{quality.label} needs the package {quality.package}")
    name = "lpips-squeeze" if column == "lpips" else quality.name
    return create_metrics([name], MetricOptions(data_root=data_dir))[0]


def measure(metric: Metric, reference: RgbArray, image: RgbArray) -> float:
    return metric.measure(metric.prepare(reference), image)[metric.columns[0]]


def as_jpeg(rgb: RgbArray, quality: int) -> RgbArray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def kodim(data_dir: Path) -> RgbArray:
    with Image.open(data_dir / "kodak" / "kodim08.png") as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def coded(kodim: RgbArray) -> RgbArray:
    return as_jpeg(kodim, 20)


def tensor(rgb: RgbArray) -> torch.Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None] / 255.0


@pytest.mark.parametrize(("column", "name"), [("haarpsi", "haarpsi"), ("vif", "vif_p")])
def test_value_is_that_of_piq(column: str, name: str, kodim: RgbArray, coded: RgbArray) -> None:
    metric = judge(column)
    import piq

    expected = float(getattr(piq, name)(tensor(coded), tensor(kodim), data_range=1.0))
    assert measure(metric, kodim, coded) == pytest.approx(expected, abs=1e-4)
    assert 0.1 < expected < 0.95


def test_value_is_that_of_cvvdp_on_a_4k_display(kodim: RgbArray, coded: RgbArray) -> None:
    metric = judge("cvvdp")
    import pycvvdp

    package = pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"), quiet=True)
    images = tensor(coded)[:, :, None], tensor(kodim)[:, :, None]  # BCFHW
    expected = float(package.predict(*images, dim_order="BCFHW")[0])
    assert measure(metric, kodim, coded) == pytest.approx(expected, abs=1e-4)
    assert 8 < expected < 9.9
    assert "standard_4k at 75 px per degree" in metric.describe()
    assert package.pix_per_deg == pytest.approx(75.4, abs=0.1)


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda quality: quality.column)
def test_equal_pictures_are_best_and_jpeg_gets_better_with_its_quality(
    quality: Quality, data_dir: Path, kodim: RgbArray
) -> None:
    metric = judge(quality.column, data_dir)
    crop = np.ascontiguousarray(kodim[:256, :320])
    values = [measure(metric, crop, as_jpeg(crop, setting)) for setting in (10, 40, 90)]
    values.append(measure(metric, crop, crop))
    assert values == sorted(values, reverse=not quality.is_better_up)
    assert values[-1] == pytest.approx(quality.best, abs=1e-4)
    assert len(set(values)) == 4


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda quality: quality.column)
def test_grey_odd_and_tiny_pictures(quality: Quality, data_dir: Path, kodim: RgbArray) -> None:
    metric = judge(quality.column, data_dir)
    odd = np.ascontiguousarray(kodim[:211, :173])
    grey = np.repeat(odd[..., 1:2], 3, axis=2)
    for rgb in (odd, grey):
        value = measure(metric, rgb, as_jpeg(rgb, 30))
        assert math.isfinite(value)
        assert value < quality.best if quality.is_better_up else value > quality.best
    for height, width in ((1, 1), (7, 300), (300, 7), (16, 16), (40, 41), (41, 41)):
        small = np.ascontiguousarray(kodim[:height, :width])
        value = measure(metric, small, 255 - small)
        assert isinstance(value, float)
        if quality.column != "psnr" and min(small.shape[:2]) < 8:
            assert math.isnan(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cvvdp", r"CVVDP needs the package cvvdp: pip install 'imgcodec\[cvvdp\]'"),
        ("haarpsi", r"HaarPSI needs the package piq: pip install 'imgcodec\[eval\]'"),
        ("vif", r"VIF needs the package piq"),
        ("ms-ssim", r"MS-SSIM needs the package pytorch-msssim"),
    ],
)
def test_missing_package_is_named_with_its_extra(name: str, text: str, monkeypatch) -> None:
    import sys

    for module in ("pycvvdp", "piq", "pytorch_msssim"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MetricError, match=text):
        create_metrics([name])


def test_default_metrics_leave_out_what_is_missing_and_say_so(monkeypatch, tmp_path: Path) -> None:
    import sys

    from imgcodec.eval.bench import default_metrics

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    names, note = default_metrics(MetricOptions())
    assert "cvvdp" not in names and "psnr" in names
    assert "no CVVDP: pip install 'imgcodec[cvvdp]' brings cvvdp" in note
    assert "no LPIPS: no backbone weights here" in note


def test_messages_of_this_project_are_not_doubled_by_cvvdp(monkeypatch) -> None:
    """The package logs through the root logger, which would give it a handler."""
    judge("cvvdp")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    create_metrics(["cvvdp"])
    assert [type(h).__name__ for h in logging.getLogger().handlers] == ["NullHandler"]


@pytest.mark.slow
def test_messages_are_not_doubled_where_cvvdp_is_imported_first() -> None:
    import subprocess
    import sys

    judge("cvvdp")
    import_torchvision()
    code = (
        "import logging\n"
        "from imgcodec.eval.metrics import create_metrics\n"
        "create_metrics(['cvvdp'])\n"
        "assert [type(h).__name__ for h in logging.getLogger().handlers] == ['NullHandler']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
