"""`imgcodec compare`: equal bytes, the sheet, the page, the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgcodec.cli.main import cli
from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.compare import compare_codecs, compare_files, numbers, score_table
from imgcodec.eval.comparison_sheet import CELL_PX, comparison_sheet, write_comparison_page
from imgcodec.eval.metrics import create_metrics
from tests.eval.conftest import overflowing

CODECS = ("jpeg2000", "jpeg", "webp")


@pytest.fixture(scope="module")
def comparison(small_run: Any) -> Any:
    with Image.open(small_run.images["hill"]) as image:
        rgb = np.asarray(image)
    return compare_codecs("hill", rgb, [get_codec(name) for name in CODECS], target_bpp=1.2)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_files_are_near_the_wanted_size_and_complete(comparison: Any) -> None:
    for shot in comparison.shots:
        assert len(shot.data) == pytest.approx(comparison.target_bytes, rel=0.05)
        np.testing.assert_array_equal(get_codec(shot.codec).decode(shot.data), shot.rgb)


def test_quality_sets_the_first_codec_and_the_others_follow(comparison: Any) -> None:
    codecs = [get_codec("jpeg"), get_codec("webp")]
    result = compare_codecs("hill", comparison.rgb, codecs, quality=40)
    first, second = result.shots
    assert first.setting == "q=40" and result.target_bytes == len(first.data)
    assert len(second.data) == pytest.approx(len(first.data), rel=0.05)


def test_sheet_shows_the_crops_of_the_decoded_pictures_enlarged(comparison: Any) -> None:
    sheet = np.asarray(comparison_sheet(comparison))
    assert sheet.shape[1] > 4 * CELL_PX
    window = comparison.windows[0]
    factor = CELL_PX // window.width
    assert factor >= 2
    for rgb in (comparison.rgb, *(shot.rgb for shot in comparison.shots)):
        # Below the coloured line at the top of a crop.
        strip = window.cut(rgb)[10:12].repeat(factor, axis=0).repeat(factor, axis=1)
        first = strip[0]
        found = [
            (y, x)
            for y in range(sheet.shape[0] - len(strip))
            for x in np.flatnonzero((sheet[y] == first[0]).all(axis=1))
            if np.array_equal(sheet[y : y + len(strip), x : x + strip.shape[1]], strip)
        ]
        assert found


def test_window_outside_the_image_is_refused(comparison: Any) -> None:
    with pytest.raises(ValueError, match="not inside the image of 192x128"):
        compare_codecs(
            "hill",
            comparison.rgb,
            [get_codec("jpeg")],
            target_bpp=1.0,
            windows=[Tile(0, 180, 20, 20)],
        )


def test_command_writes_a_picture_and_tells_the_sizes(small_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    arguments = ("--codecs", "jpeg,webp", "--bpp", 1.0, "--crop", "10,20,64,48", "-o", out)
    result = run(small_run.images["lake"], *arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert [entry["codec"] for entry in record["codecs"]] == ["jpeg", "webp"]
    assert all(entry["bpp"] == pytest.approx(1.0, rel=0.06) for entry in record["codecs"])
    with Image.open(out) as image:
        assert image.format == "PNG" and image.width > 3 * CELL_PX
    again = run(small_run.images["lake"], *arguments)
    assert again.exit_code == 1 and "-f" in again.output


def test_judges_are_in_the_table_and_under_the_pictures_with_a_dagger(comparison: Any) -> None:
    codecs = [get_codec("jpeg")]
    metrics = create_metrics(["psnr", "ssim", "ms-ssim"])
    result = compare_codecs("hill", comparison.rgb, codecs, target_bpp=1.2, metrics=metrics)
    result = dataclasses.replace(result, taught={"jpeg": {"ssim"}})
    header, (cells,) = score_table(result)
    assert header == ["codec", "setting", "bytes", "bpp", "PSNR", "SSIM", "MS-SSIM"]
    value = result.shots[0].scores["ssim"]
    assert cells[5] == f"{value:.4f}†" and cells[4] == f"{result.shots[0].psnr:.2f} "
    assert cells[6] == " "  # the picture is too small for it
    assert numbers(result, result.shots[0])[2:] == [f"SSIM† {value:.4f}"]
    assert comparison_sheet(result).height > comparison_sheet(comparison).height


def test_files_are_compared_as_they_are(small_run: Any, tmp_path: Path) -> None:
    import imgcodec

    image = small_run.images["lake"]
    own, jpeg = tmp_path / "a.cvb", tmp_path / "b.jpg"
    own.write_bytes(imgcodec.encode(image, quality=50))
    with Image.open(image) as picture:
        picture.save(jpeg, quality=60)
    arguments = (image, own, jpeg, "--metrics", "psnr,ssim", "-o", tmp_path / "out.png")
    result = run(*arguments, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (
        record["taught"] == {"a.cvb": ["ms_ssim", "psnr", "ssimulacra2"]}
        and record["target_bytes"] is None
    )
    for entry, path in zip(record["codecs"], (own, jpeg), strict=True):
        assert entry["codec"] == path.name and entry["bytes"] == path.stat().st_size
        assert entry["scores"]["psnr"] == pytest.approx(entry["psnr"], abs=1e-3)
    result = run(*arguments, "-f")
    assert "a.cvb" in result.stdout and "†" in result.stdout
    assert run(image, jpeg, "--bpp", 1).exit_code == 2
    with pytest.raises(ValueError, match="b is 10x20, the original 192x128"):
        rgb = np.zeros((128, 192, 3), np.uint8)
        compare_files("lake", rgb, [("b", b"", rgb[:20, :10])])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bpp", 1, "--quality", 50),
        ("-o", "picture.gif"),
        ("--crop", "1,2,3"),
        ("--crop", "0,0,5000,10", "--codecs", "jpeg", "-o", "x.png"),
        ("--codecs", ","),
    ],
)
def test_wrong_usage_exits_2(
    small_run: Any, arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(small_run.images["lake"], *arguments).exit_code == 2


def test_browser_page_shows_slider_and_crops(browser: Any, comparison: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    path = write_comparison_page(comparison, tmp_path / "compare.html")
    assert "dB from it or closer" in path.read_text()
    browser.get_log("browser")
    browser.get(path.as_uri())
    figures = browser.find_elements(By.CSS_SELECTOR, "#crops figure")
    assert len(figures) == 1 + len(CODECS)
    crops = browser.find_elements(By.CSS_SELECTOR, "#crops img")
    assert len(crops) == len(figures) * len(comparison.windows)
    for window in comparison.windows:
        size = f"{window.width} \N{MULTIPLICATION SIGN} {window.height}"
        assert f"crop of {size} at {window.left}, {window.top}" in figures[0].text
    assert figures[1].text.count(f"{len(comparison.shots[0].data):,} bytes") == 1
    figures[3].click()
    assert browser.find_element(By.CSS_SELECTOR, ".plate.right").text.startswith("WebP")
    ActionChains(browser).send_keys("x").perform()
    assert browser.find_element(By.CSS_SELECTOR, ".plate.left").text.startswith("WebP")
    widths = browser.execute_script(
        "return [...document.querySelectorAll('img')].map((image) => image.naturalWidth)"
    )
    assert widths and min(widths) > 0
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("num_codecs", [1, 2, 3, 4])
def test_tiles_fill_their_rows_on_wide_and_narrow_screens(
    browser: Any, narrow: Any, comparison: Any, tmp_path: Path, num_codecs: int
) -> None:
    shots = [dataclasses.replace(comparison.shots[0], codec=f"c{k}") for k in range(num_codecs)]
    some = dataclasses.replace(comparison, shots=tuple(shots))
    browser.get(write_comparison_page(some, tmp_path / "compare.html").as_uri())
    for width in (420, 1280):
        narrow(width)
        assert overflowing(browser) == []
        tiles = browser.execute_script(
            "return [...document.querySelectorAll('#crops figure')].map((f) => f.offsetTop)"
        )
        assert len({tiles.count(top) for top in tiles}) == 1
