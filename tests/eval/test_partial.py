"""What beginnings and reductions of files show, as measured for the documents."""

from __future__ import annotations

import csv
import io

import pytest
from PIL import Image

from imgcodec.eval import partial
from tests.codec.conftest import make_tiny_weights, smooth_pictures


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partial")
    Image.fromarray(smooth_pictures(1)[0]).save(folder / "waves.png")
    weights = [str(make_tiny_weights(family, folder)) for family in ("beta", "vq")]
    with pytest.MonkeyPatch.context() as patch:
        written = io.StringIO()
        patch.setattr("sys.stdout", written)
        partial.main([*weights, "--dataset", str(folder / "waves.png"), "--quality", "80"])
    return list(csv.DictReader(io.StringIO(written.getvalue())))


def test_there_is_a_line_for_each_part_of_each_model(lines):
    parts = [(line["model"], line["part"], float(line["of"])) for line in lines]
    wanted = [("beginning", s) for s in partial.SHARES] + [("scale", s) for s in partial.SCALES]
    assert parts == [(f"{f}-tiny-1", *part) for f in ("beta", "vq") for part in wanted]


def test_more_of_a_file_shows_more(lines):
    for model in ("beta-tiny-1", "vq-tiny-1"):
        own = [line for line in lines if line["model"] == model and line["part"] == "beginning"]
        psnrs = [float(line["psnr"]) for line in own if line["psnr"] != "nan"]
        assert len(psnrs) >= 4
        assert psnrs[-1] > psnrs[0] + 2
