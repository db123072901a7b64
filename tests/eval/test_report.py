"""The report: a file that needs nothing else, numbers that agree, a page that works."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.bdtable import bd_table
from imgcodec.eval.pictures import psnr_db
from imgcodec.eval.report import write_report
from tests.eval.conftest import broken_lines, overflowing
from tests.eval.rows import frame_of, ladder

PUBLISHED = {"vtm": [{"bpp": 0.5, "psnr": 30.0}, {"bpp": 1.5, "psnr": 36.0}]}


@pytest.fixture(scope="module")
def report(small_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(small_run.rows, path, small_run.images, PUBLISHED, codecs=small_run.codecs)


def page_data(path: Path) -> dict[str, Any]:
    match = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL
    )
    assert match is not None
    data: dict[str, Any] = json.loads(match.group(1))
    return data


def picture(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def test_page_refers_to_nothing_outside_itself(report: Path) -> None:
    text = report.read_text()
    addresses = set(re.findall(r"https?://[^\"'\s)]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    sources = re.findall(r"<(?:script|img|link|iframe)[^>]*\s(?:src|href)=\"([^\"]*)\"", text)
    assert all(source.startswith("data:") for source in sources)
    assert "@import" not in text and "{{" not in text


def test_notes_of_the_run_are_on_the_page(small_run: Any, tmp_path: Path) -> None:
    path = write_report(small_run.rows, tmp_path / "r.html", codecs=[], notes=["LPIPS: squeeze"])
    assert page_data(path)["notes"] == ["LPIPS: squeeze"]


def test_hostile_text_stays_text(report: Path) -> None:
    assert "</script><b>" not in report.read_text()
    assert page_data(report)["errors"][0]["error"] == "the encoder said </script><b>no</b>"


def test_bd_rates_are_those_of_the_printed_table(report: Path, small_run: Any) -> None:
    data = page_data(report)
    names = [codec["name"] for codec in data["codecs"]]
    assert names[0] == "imgcodec-beta"
    checked = 0
    for entry in bd_table(small_run.rows, "jpeg"):
        if entry.metric in ("PSNR", "LPIPS") and not entry.refused:
            pair = f"{names.index('jpeg')},{names.index(entry.codec)}"
            percent, overlap = data["bd"][entry.metric.lower()][0][pair]
            assert percent == pytest.approx(entry.percent, abs=0.01)
            assert overlap == pytest.approx(100 * entry.overlap, abs=1)
            checked += 1
    assert checked == 4


def test_points_hold_every_good_row(report: Path, small_run: Any) -> None:
    data = page_data(report)
    good = small_run.rows[small_run.rows["status"] == "ok"]
    assert len(data["points"]) == len(good)
    assert sorted(point[3] for point in data["points"]) == sorted(good["bytes"].astype(int))


def test_pictures_are_the_files_or_close_to_the_decoder_output(
    report: Path, small_run: Any
) -> None:
    viewer = page_data(report)["viewer"]
    codecs = {codec.name: codec for codec in small_run.codecs}
    entry = viewer["images"][0]
    with Image.open(small_run.images[entry["name"]]) as image:
        rgb = np.asarray(image)
    for rate, level in zip(viewer["rates"], entry["levels"], strict=True):
        assert set(level) == set(codecs)
        for name, shot in level.items():
            setting = float(shot["setting"].partition("=")[2])
            codec = codecs[name]
            value = setting if codec.name == "imgcodec-beta" else int(setting)
            data = codec.encode(rgb, value)
            decoded = codec.decode(data)
            assert shot["bytes"] == len(data)
            assert shot["psnr"] == pytest.approx(psnr_db(rgb, decoded), abs=1e-3)
            assert shot["isFile"] == (name != "imgcodec-beta")
            if shot["isFile"]:
                np.testing.assert_array_equal(picture(shot["src"]), decoded)
            else:
                assert shot["bpp"] == pytest.approx(rate, rel=0.15)
                assert psnr_db(picture(shot["src"]), decoded) >= entry["worstDb"] - 1e-3
    assert entry["worstDb"] > 36
    assert "at least" in viewer["note"] and "coded files themselves" in viewer["note"]


def test_budget_bounds_the_pictures_by_showing_a_window(small_run: Any, tmp_path: Path) -> None:
    arguments = (small_run.rows, tmp_path / "r.html", small_run.images)
    path = write_report(*arguments, codecs=small_run.codecs, budget_bytes=60_000)
    viewer = page_data(path)["viewer"]
    assert sum(entry["size"] for entry in viewer["images"]) <= 60_000
    entry = viewer["images"][0]
    assert not entry["isWhole"] and entry["window"]["width"] < entry["width"]
    shot = entry["levels"][0]["jpeg"]
    assert not shot["isFile"]
    size = (entry["window"]["height"], entry["window"]["width"])
    assert picture(shot["src"]).shape[:2] == size
    assert "window" in viewer["note"]


def test_codec_that_cannot_be_had_again_keeps_its_curve(small_run: Any, tmp_path: Path) -> None:
    codecs = [codec for codec in small_run.codecs if codec.name != "webp"]
    path = write_report(small_run.rows, tmp_path / "r.html", small_run.images, codecs=codecs)
    data = page_data(path)
    assert "webp" in {codec["name"] for codec in data["codecs"]}
    assert "webp" not in data["viewer"]["codecs"]


def test_a_report_opens_with_the_look(tmp_path: Path) -> None:
    rows = [
        row
        for name, scale in (("jpeg", 1.0), ("avif", 0.6))
        for row in ladder(
            name, scale, lambda step: {"psnr": 25 + 3 * step, "ssimulacra2": 9 * step}
        )
    ]
    data = page_data(write_report(frame_of(rows), tmp_path / "r.html", codecs=[]))
    assert [entry["key"] for entry in data["metrics"]] == ["ssimulacra2", "psnr"]


def test_run_without_images_or_without_rows(small_run: Any, tmp_path: Path) -> None:
    assert page_data(write_report(small_run.rows, tmp_path / "r.html", codecs=[]))["viewer"] is None
    failed = small_run.rows.assign(status="error")
    with pytest.raises(ValueError, match="no row"):
        write_report(failed, tmp_path / "s.html")


def console_errors(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def open_page(browser: Any, path: Path) -> None:
    browser.get_log("browser")
    browser.get(path.as_uri())


def test_browser_page_loads_toggles_and_hovers(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    def find(selector: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, selector)

    def curves() -> set[str]:
        paths = browser.find_elements(By.CSS_SELECTOR, "#chart path[data-codec]")
        return {path.get_attribute("data-codec") for path in paths}

    open_page(browser, report)
    assert curves() == {"imgcodec-beta", "jpeg", "webp"}
    assert len(browser.find_elements(By.CSS_SELECTOR, "#chart path[data-overlay]")) == 1
    find("#codec-toggles [data-name='webp']").click()
    assert curves() == {"imgcodec-beta", "jpeg"}
    find("#codec-toggles [data-name='webp']").click()
    assert curves() == {"imgcodec-beta", "jpeg", "webp"}

    find("#metric-select option[value='2']").click()
    assert "LPIPS" in find("#chart").text
    find("#image-select option[value='1']").click()
    assert "lake" in find("#rates-scope").text
    points = browser.find_elements(By.CSS_SELECTOR, "#chart .point")
    assert len(points) == 15
    assert len(browser.find_elements(By.CSS_SELECTOR, "#chart circle")) == 5
    assert len(browser.find_elements(By.CSS_SELECTOR, "#codec-toggles polygon")) == 2
    ActionChains(browser).move_to_element(points[0]).perform()
    tip = find("#chart .tip").text
    assert "lake, 192 × 128" in tip and "bytes" in tip and "q=" in tip and "bpp" in tip  # noqa: RUF001

    find("#anchor-select option[value='2']").click()
    assert find("#bd-table tbody tr:nth-child(3) td").text == "anchor"
    assert console_errors(browser) == []


def test_browser_page_fits_a_narrow_screen(
    browser: Any, narrow: None, report: Path, tmp_path: Path
) -> None:
    open_page(browser, report)
    assert overflowing(browser) == []
    assert broken_lines(browser, "button, option, .tile b, .tile span, h1, #bd-table td") == []
    cell = browser.find_element("css selector", "#bd-table td")
    assert cell.get_attribute("data-title") == "PSNR"


def test_slider_opens_on_us_against_avif(browser: Any, small_run: Any, tmp_path: Path) -> None:
    avif = get_codec("avif@40,60")
    rows = small_run.rows[small_run.rows["codec"] != "jpeg"]
    record = rows[rows["codec"] == "webp"]
    rows = pd.concat([rows, record.assign(codec="avif")], ignore_index=True)
    codecs = [*small_run.codecs, avif]
    path = write_report(rows, tmp_path / "r.html", small_run.images, codecs=codecs, num_pictures=1)
    open_page(browser, path)
    plates = browser.find_elements("css selector", ".plate b")
    assert [plate.text for plate in plates] == ["AVIF (default tune)", "imgcodec-beta"]


def test_browser_slider_moves_zooms_and_shows_the_decoded_pixels(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def find(selector: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, selector)

    def press(*keys: str) -> None:
        for key in keys:
            ActionChains(browser).send_keys(key).perform()

    def split() -> float:
        return float(find(".divider").get_attribute("style").partition("left:")[2].split("%")[0])

    def plate(side: str) -> str:
        return str(find(f".plate.{side}").text)

    open_page(browser, report)
    stage = find(".stage")
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", stage
    )
    assert split() == 50
    press(Keys.ARROW_LEFT)
    assert split() == pytest.approx(48)
    ActionChains(browser).drag_and_drop_by_offset(find(".divider"), 200, 0).perform()
    assert split() > 60
    assert plate("left").startswith("JPEG") and plate("right").startswith("imgcodec-beta")
    press("x")
    assert plate("left").startswith("imgcodec-beta") and plate("right").startswith("JPEG")
    press("n")
    assert find("#viewer select").get_attribute("value") == "1"
    press(" ")
    shown = [find(f".plate.{side}").is_displayed() for side in ("left", "right")]
    press(" ")
    assert [not value for value in shown] == [
        find(f".plate.{side}").is_displayed() for side in ("left", "right")
    ]
    press("f")
    assert "difference" in stage.get_attribute("class")
    press("f")

    # At 100 % the screen must show the very pixels that the JPEG file decodes to.
    press("x", "p", "1")
    browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('.stage img')].map((i) => i.decode()))"
        ".then(() => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    box, image = browser.execute_script(
        "const r = (e) => { const b = e.getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; };"
        "return [r(document.querySelector('.stage')), r(document.querySelector('.left img'))]"
    )
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as png:
        screen = np.asarray(png.convert("RGB"))
    Image.fromarray(screen).save(tmp_path / "screen.png")
    left, top, width, height = (round(value) for value in image)
    assert (width, height) == (192, 128) and left > box[0]
    viewer = page_data(report)["viewer"]
    level = min(1, len(viewer["rates"]) - 1)
    expected = picture(viewer["images"][0]["levels"][level]["jpeg"]["src"])
    columns = min(width, int(box[0] + box[2] * split() / 100) - left - 4)
    assert columns > 100
    seen = screen[top : top + height, left : left + columns]
    shown_psnr = psnr_db(seen, expected[:, :columns])
    other = picture(viewer["images"][0]["levels"][level]["imgcodec-beta"]["src"])
    assert shown_psnr > 36 > psnr_db(seen, other[:, :columns])

    press("+", "+")
    zoomed = browser.execute_script(
        "return document.querySelector('.left img').getBoundingClientRect().width"
    )
    assert zoomed == pytest.approx(192 * 1.4**2, abs=1)
    assert console_errors(browser) == []
