"""Fixtures of the evaluation tests: the data folder, small pictures, a small run, a browser."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imgcodec.eval.anchors.base import ImageCodec
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.metrics.pixel import mse, psnr_of_mse
from tests.eval.rows import frame_of

if TYPE_CHECKING:
    import pandas as pd


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of IMGCODEC_DATA; tests that need real pictures are skipped without it."""
    named = os.environ.get("IMGCODEC_DATA")
    if not named:
        pytest.skip("IMGCODEC_DATA is not set")
    return Path(named)


@pytest.fixture(scope="session")
def photo_like() -> npt.NDArray[np.uint8]:
    """A uint8 192x256x3 picture with structure at many scales, like a photograph's spectrum."""
    generator = np.random.default_rng(11)
    height, width = 192, 256
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    spectrum = 1.0 / np.maximum(frequency, 1.0 / width) ** 1.3
    planes = []
    for _ in range(3):
        noise = np.fft.fft2(generator.normal(size=(height, width)))
        plane = np.fft.ifft2(noise * spectrum).real
        planes.append(128 + 45 * plane / plane.std())
    luma = planes[0]
    mixed = np.stack([luma, 0.8 * luma + 0.2 * planes[1], 0.7 * luma + 0.3 * planes[2]], axis=-1)
    return np.clip(mixed, 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class SmallRun:
    """A rows table with the images and codecs behind it."""

    rows: pd.DataFrame
    images: dict[str, Path]
    codecs: list[ImageCodec]


def _textured(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a smooth uint8 HxWx3 picture with a patch of fine texture."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin(x / (19 + 7 * c + seed) + y / (31 - 5 * c)) for c in range(3)]
    rgb = np.stack(planes, axis=-1)
    rgb[40:100, 100:170] += generator.normal(0, 30, (60, 70, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def _renamed(codec: Any, name: str, settings: tuple[float, ...]) -> ImageCodec:
    changed: ImageCodec = dataclasses.replace(codec, name=name, settings=settings)
    return changed


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Two small images by three codecs at five settings; one row failed.

    JPEG 2000 stands in for the codec of this project, whose files browsers cannot read either.
    """
    folder = tmp_path_factory.mktemp("images")
    height, width = 128, 192
    codecs = [
        _renamed(get_codec("jpeg2000"), "imgcodec-beta", (0.3, 0.6, 1.0, 1.6, 2.4)),
        _renamed(get_codec("jpeg"), "jpeg", (10, 25, 50, 75, 90)),
        _renamed(get_codec("webp"), "webp", (5, 25, 50, 75, 90)),
    ]
    records: list[dict[str, Any]] = []
    images = {}
    for seed, name in enumerate(("hill", "lake")):
        rgb = _textured(seed, height, width)
        images[name] = folder / f"{name}.png"
        Image.fromarray(rgb).save(images[name])
        for codec in codecs:
            for setting in codec.settings:
                data = codec.encode(rgb, setting)
                error = mse(rgb, codec.decode(data))
                psnr = psnr_of_mse(error)
                records.append(
                    {
                        "dataset": "small",
                        "image": name,
                        "width": width,
                        "height": height,
                        "codec": codec.name,
                        "setting": codec.describe(setting),
                        "bytes": len(data),
                        "bpp": 8 * len(data) / (height * width),
                        "psnr": psnr,
                        "mse": error,
                        "ms_ssim": 1.0 - 10 ** (-psnr / 20),
                        "lpips": 10 ** (-psnr / 25),
                        "encode_s": 0.01,
                        "decode_s": 0.005,
                        "encode_mp_s": 2.5,
                        "decode_mp_s": 5.0,
                        "status": "ok",
                    }
                )
    failed = {**records[-1], "setting": "q=99", "status": "error"}
    records.append({**failed, "error": "the encoder said </script><b>no</b>"})
    return SmallRun(frame_of(records), images, codecs)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; skipped with the reason where it cannot be had."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="browser tests need the package selenium (extra dev)"
    )
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("browser tests need Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(driver_path, log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def narrow(browser: Any) -> Iterator[Any]:
    """Make the window 420 px wide, as a telephone's; called with a width it sets that one."""

    def resize(width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        # The observers of sizes have answered when the second frame is drawn.
        browser.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    resize(420)
    yield resize
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def overflowing(browser: Any) -> list[str]:
    """Return the tags of what reaches beyond the page at the right, or scrolls sideways."""
    found: list[str] = browser.execute_script(
        "const width = document.documentElement.clientWidth;"
        "const isShown = (e) => e.offsetParent && !e.closest('.stage, svg');"
        "return [...document.querySelectorAll('body *')].filter((e) => isShown(e) &&"
        "  (e.getBoundingClientRect().right > width + 0.5 || e.scrollWidth > e.clientWidth + 1"
        "   && getComputedStyle(e).overflowX === 'auto'))"
        "  .map((e) => `${e.tagName}.${e.className}`)"
    )
    return found


def broken_lines(browser: Any, selector: str) -> list[str]:
    """Return the texts of shown elements that take more than one line."""
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter((e) => {"
        "  const range = document.createRange(); range.selectNodeContents(e);"
        "  const tops = [...range.getClientRects()].map((r) => Math.round(r.bottom / 8));"
        "  return e.offsetParent && Math.max(...tops) - Math.min(...tops) > 1;"
        "}).map((e) => e.textContent)",
        selector,
    )
    return found
