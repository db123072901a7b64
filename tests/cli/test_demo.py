"""`imgcodec demo` and the search and drawing behind it."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.demo import RIVALS, SizeSearch
from imgcodec.eval.pictures import psnr_db


@pytest.mark.parametrize("name", RIVALS)
def test_search_finds_the_largest_file_within_the_budget(name, synthetic_rgb):
    codec = get_codec(name)
    rgb = synthetic_rgb[:48, :48]
    sizes = [len(codec.encode(rgb, quality)) for quality in range(1, 101)]
    search = SizeSearch(codec, rgb)
    for budget in (sizes[20], sizes[60] + 1, max(sizes)):
        found = search.within(budget)
        assert found is not None
        assert len(found.data) <= budget
        assert found.psnr == pytest.approx(psnr_db(rgb, codec.decode(found.data)))
        assert len(found.data) >= 0.95 * max(size for size in sizes if size <= budget)
    assert search.within(min(sizes) - 1) is None


def test_demo_prints_the_table_and_writes_the_pictures(invoke, photo, tmp_path):
    out = tmp_path / "shown"
    result = invoke("demo", photo, "--out", out)
    assert result.exit_code == 0, result.output
    sheet = out / "photo-side-by-side.png"
    assert f"side by side: {sheet}" in result.stdout
    header, *rows = result.stdout.splitlines()
    columns = ["quality", "bytes", "bpp", "enc s", "dec s"]
    columns += ["imgcodec dB", "jpeg dB", "webp dB", "avif dB"]
    assert " ".join(header.split()) == " ".join(columns)
    assert [row.split()[0] for row in rows[:6]] == ["5", "20", "40", "60", "80", "95"]
    with Image.open(sheet) as image:
        assert image.width > 5 * 2 * 96
    for quality in (5, 95):
        stem = out / f"photo-q{quality:03d}"
        assert stem.with_suffix(".cvb").is_file()
        with Image.open(stem.with_suffix(".png")) as decoded:
            assert decoded.size == (130, 96)


def test_demo_uses_the_photograph_of_matplotlib(invoke, tmp_path):
    result = invoke("demo", "--out", tmp_path, "--max-side", "96", "--json")
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    assert "grace_hopper" in record["image"]
    for row in record["rows"]:
        assert row["psnr_db"]["imgcodec"] > 15
        for name in RIVALS:
            size = row["rival_bytes"][name]
            assert size is None or size <= row["bytes"]
    assert record["rows"][-1]["rival_bytes"]["jpeg"] is not None
