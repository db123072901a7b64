"""`imgcodec encode` and `imgcodec decode` on real files, pipes and processes."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import imgcodec
from imgcodec.codec.options import TUNES
from imgcodec.codec.stream.container import read_stream, write_stream


def _psnr_db(x, x_hat):
    error = np.mean((x.astype(np.float64) - x_hat.astype(np.float64)) ** 2)
    return 10 * np.log10(255**2 / error)


def test_two_commands_make_a_small_file_and_the_picture_again(
    invoke, photo, synthetic_rgb, monkeypatch
):
    monkeypatch.chdir(photo.parent)
    result = invoke("encode", "photo.png", "photo.cvb", "-q", "60")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "photo.png -> photo.cvb: 130x96" in result.stderr
    size = photo.with_suffix(".cvb").stat().st_size
    assert size < synthetic_rgb.size / 4

    result = invoke("decode", "photo.cvb", "back.png")
    assert (result.exit_code, result.stdout) == (0, "")
    with Image.open(photo.with_name("back.png")) as back:
        assert (back.format, back.mode, back.size) == ("PNG", "RGB", (130, 96))
        assert _psnr_db(synthetic_rgb, np.asarray(back)) > 28


def test_pipes_carry_the_same_bytes_as_files(run_cli, photo, synthetic_rgb):
    encoded = run_cli("encode", "-", "-", "-q", "30", stdin=photo.read_bytes())
    assert encoded.returncode == 0
    assert encoded.stdout == imgcodec.encode(photo, quality=30)

    decoded = run_cli("decode", "-", stdin=encoded.stdout)
    assert decoded.returncode == 0
    with Image.open(io.BytesIO(decoded.stdout)) as back:
        assert back.format == "PNG"
        expected = np.asarray(imgcodec.decode(encoded.stdout))
        assert np.abs(np.asarray(back).astype(int) - expected).max() <= 1


def test_names_default_to_the_input_with_another_suffix(invoke, photo):
    assert invoke("encode", photo).exit_code == 0
    photo.unlink()
    assert invoke("decode", photo.with_suffix(".cvb")).exit_code == 0
    assert {path.name for path in photo.parent.iterdir()} == {"photo.cvb", "photo.png"}


def test_quality_changes_the_size(invoke, photo, tmp_path):
    for quality in (5, 95):
        assert invoke("encode", photo, tmp_path / f"{quality}.cvb", "-q", quality).exit_code == 0
    assert (tmp_path / "5.cvb").stat().st_size < (tmp_path / "95.cvb").stat().st_size


@pytest.mark.parametrize("quality", ["0", "101", "fine"])
def test_quality_out_of_range_is_a_usage_error(invoke, photo, quality):
    assert invoke("encode", photo, "-q", quality).exit_code == 2


def test_metadata_is_kept_unless_stripped(invoke, photo, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    with Image.open(photo) as image:
        image.save(tmp_path / "tagged.png", exif=exif)
    for name, flags in (("kept", []), ("stripped", ["--metadata", "none"])):
        path = tmp_path / f"{name}.cvb"
        assert invoke("encode", tmp_path / "tagged.png", path, *flags).exit_code == 0
        assert invoke("decode", path).exit_code == 0
    with Image.open(tmp_path / "kept.png") as kept, Image.open(tmp_path / "stripped.png") as bare:
        assert kept.getexif().get(0x010E) == "a description"
        assert len(bare.getexif()) == 0


def test_existing_output_survives_unless_forced(invoke, photo, cvb, tmp_path):
    target = tmp_path / "out"
    for command, source, suffix in (("encode", photo, ".cvb"), ("decode", cvb, ".png")):
        path = target.with_suffix(suffix)
        path.write_bytes(b"precious")
        result = invoke(command, source, path)
        assert result.exit_code == 1
        assert "-f" in result.stderr
        assert path.read_bytes() == b"precious"
        assert invoke(command, source, path, "-f").exit_code == 0
        assert path.read_bytes() != b"precious"


def test_json_describes_what_was_done(invoke, photo, tmp_path):
    cvb = tmp_path / "a.cvb"
    encoded = json.loads(invoke("encode", photo, cvb, "--json", "-q", "20").stdout)
    assert encoded["bytes"] == cvb.stat().st_size
    assert encoded["bpp"] == pytest.approx(8 * cvb.stat().st_size / (96 * 130))
    assert (encoded["height"], encoded["width"], encoded["quality"]) == (96, 130, 20)
    decoded = json.loads(invoke("decode", cvb, tmp_path / "a.png", "--json").stdout)
    assert (decoded["height"], decoded["width"], decoded["mode"]) == (96, 130, "RGB")


def test_json_and_data_do_not_share_stdout(invoke, photo, cvb):
    assert invoke("encode", photo, "-", "--json").exit_code == 2
    assert invoke("decode", cvb, "-", "--json").exit_code == 2


def test_quiet_prints_nothing(invoke, photo, tmp_path):
    result = invoke("encode", photo, tmp_path / "a.cvb", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_first_pass_alone_is_a_preview(invoke, cvb, tmp_path):
    assert invoke("decode", cvb, tmp_path / "whole.png").exit_code == 0
    assert invoke("decode", cvb, tmp_path / "preview.png", "--passes", "1").exit_code == 0
    with (
        Image.open(tmp_path / "whole.png") as whole,
        Image.open(tmp_path / "preview.png") as preview,
    ):
        assert whole.size == preview.size
        assert np.asarray(whole).tobytes() != np.asarray(preview).tobytes()
    assert invoke("decode", cvb, tmp_path / "no.png", "--passes", "0").exit_code == 2


def test_suffix_chooses_the_format(invoke, cvb, tmp_path):
    assert invoke("decode", cvb, tmp_path / "a.webp").exit_code == 0
    with Image.open(tmp_path / "a.webp") as image:
        assert image.format == "WEBP"
    result = invoke("decode", cvb, tmp_path / "a.nosuch")
    assert result.exit_code == 2
    assert not (tmp_path / "a.nosuch").exists()


def test_missing_input_is_a_usage_error(invoke, tmp_path):
    for command in ("encode", "decode", "inspect"):
        assert invoke(command, tmp_path / "nosuch").exit_code == 2


def test_input_that_is_no_picture_exits_3(invoke, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    result = invoke("encode", tmp_path / "notes.txt")
    assert result.exit_code == 3
    assert not (tmp_path / "notes.cvb").exists()


@pytest.mark.parametrize("command", ["inspect", pytest.param("decode", marks=pytest.mark.slow)])
def test_corrupt_stream_exits_3_in_a_process(run_cli, stream, command):
    damaged = bytearray(stream)
    damaged[len(stream) // 2] ^= 4
    result = run_cli(command, "-", stdin=bytes(damaged))
    assert (result.returncode, result.stdout) == (3, b"")
    assert result.stderr.startswith(b"Error: ")
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["decode", "inspect"])
def test_damaged_and_foreign_bytes_exit_3(invoke, stream, command):
    for data in (stream[:-1], stream[:20], stream + b"x", b"", b"not a stream"):
        result = invoke(command, "-", stdin=data)
        assert (result.exit_code, result.stdout) == (3, "")


def test_corrupt_stream_leaves_no_file(invoke, stream, tmp_path):
    (tmp_path / "bad.cvb").write_bytes(stream[:-3])
    assert invoke("decode", tmp_path / "bad.cvb", tmp_path / "bad.png").exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["bad.cvb"]


def test_unknown_model_exits_4(invoke, photo, run_cli):
    assert invoke("encode", photo, "--model", "nosuch").exit_code == 4
    result = run_cli("encode", "photo.png", "--model", "nosuch")
    assert result.returncode == 4
    assert b"nosuch" in result.stderr


def test_stream_of_an_unknown_model_exits_4(invoke, stream, tmp_path):
    parsed = read_stream(stream)
    header = dataclasses.replace(parsed.header, model_hash=b"\0\1\2\3")
    (tmp_path / "other.cvb").write_bytes(write_stream(dataclasses.replace(parsed, header=header)))
    assert invoke("decode", tmp_path / "other.cvb").exit_code == 4


def test_stream_of_a_newer_version_exits_4(invoke, stream):
    newer = bytearray(stream)
    newer[3] = 200
    result = invoke("decode", "-", stdin=bytes(newer))
    assert (result.exit_code, result.stdout) == (4, "")


def test_level_bits_change_the_file_and_not_the_way_to_decode_it(invoke, photo, levelled, tmp_path):
    sizes = {}
    for level_bits in ("equal", "preview", "auto", "1,-0.5", "-1,0"):
        path = tmp_path / f"{level_bits}.cvb"
        result = invoke("encode", photo, path, "-m", levelled, "--level-bits", level_bits)
        assert result.exit_code == 0
        assert invoke("decode", path, "-m", levelled).exit_code == 0
        sizes[level_bits] = path.stat().st_size
    assert sizes["equal"] != sizes["preview"]


@pytest.mark.parametrize("level_bits", ["best", "1;2", "nan,1"])
def test_wrong_level_bits_are_usage_errors(invoke, photo, levelled, level_bits):
    result = invoke("encode", photo, "-m", levelled, "--level-bits", level_bits)
    assert result.exit_code == 2
    assert "level bits" in result.stderr


@pytest.mark.parametrize("level_bits", ["auto", "preview", "0.5,0.5"])
@pytest.mark.parametrize("extra", [[], ["--target-bpp", "1"]])
def test_level_bits_of_a_model_without_levels_are_a_usage_error(invoke, photo, level_bits, extra):
    result = invoke("encode", photo, "-m", "beta", "--level-bits", level_bits, *extra)
    assert result.exit_code == 2
    assert "no levels" in result.stderr
    assert not photo.with_suffix(".cvb").exists()
    assert invoke("encode", photo, "-m", "beta", "--level-bits", "equal", *extra).exit_code == 0


def test_the_first_levels_alone_are_a_preview(invoke, photo, levelled, tmp_path):
    cvb = photo.with_suffix(".cvb")
    assert invoke("encode", photo, "-m", levelled).exit_code == 0
    pictures = set()
    for count in (1, 2, 3):
        path = tmp_path / f"{count}.png"
        assert invoke("decode", cvb, path, "-m", levelled, "--levels", count).exit_code == 0
        with Image.open(path) as image:
            assert image.size == (130, 96)
            pictures.add(image.tobytes())
    assert len(pictures) == 3
    assert invoke("decode", cvb, tmp_path / "0.png", "-m", levelled, "--levels", 0).exit_code == 2


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--passes", 99), "9 passes (z, lead1, lead2, lead3, lead4, y1, y2, y3, y4), not 99"),
        (("--levels", 1), "files of beta have no levels"),
        (("--levels", 9), "files of beta have no levels"),
    ],
)
def test_more_than_there_is_is_a_usage_error(invoke, cvb, tmp_path, option, text):
    result = invoke("decode", cvb, tmp_path / "no.png", *option)
    assert result.exit_code == 2
    assert text in result.stderr
    assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize("name", ["photo.jpg", "new.PNG", "b.tif"])
@pytest.mark.parametrize("options", [(), ("-f",)])
def test_a_stream_is_not_written_under_the_name_of_a_picture(invoke, photo, name, options):
    other = photo.with_name(name)
    if name == "photo.jpg":
        other.write_bytes(b"another picture")
    result = invoke("encode", photo, other, *options)
    assert result.exit_code == 2
    assert f"did you mean {other.with_suffix('.cvb')}, or -o DIR" in result.stderr
    assert not other.exists() or other.read_bytes() == b"another picture"


def test_the_line_says_bytes_bpp_and_seconds(invoke, photo, tmp_path):
    cvb = tmp_path / "a.cvb"
    result = invoke("encode", photo, cvb)
    size = cvb.stat().st_size
    bpp = 8 * size / (130 * 96)
    line = re.escape(f"130x96, {size} bytes, {bpp:.3f} bpp") + r", \d+\.\d s\n"
    assert re.search(line, result.stderr)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_as_asked(invoke, photo, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    report = json.loads(invoke("encode", photo, "-f", "--threads", threads, "--json").stdout)
    assert report["threads"] == threads
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert invoke("decode", photo.with_suffix(".cvb"), "-f", "--threads", threads).exit_code == 0
    assert invoke("encode", photo, "--threads", 0).exit_code == 2


def test_half_size_is_told(invoke, photo):
    report = json.loads(invoke("encode", photo, "-q", 3, "-v", "--json").stdout)
    assert (report["quality"], report["coded_quality"], report["reduction"]) == (3, 29, 2)
    cvb = photo.with_suffix(".cvb")
    assert re.search(r"^quality +29 at half size$", invoke("inspect", cvb).stdout, re.MULTILINE)
    assert json.loads(invoke("inspect", cvb, "--json").stdout)["header"]["reduction"] == 2
    again = invoke("encode", photo, "-q", 3, "-v", "-f").stderr
    assert "quality 3 (29 at half size)" in again


def test_verbose_tells_what_was_chosen_the_times_and_the_likeness(invoke, photo, tmp_path):
    cvb = tmp_path / "a.cvb"
    result = invoke("encode", photo, cvb, "-v", "--json")
    report = json.loads(result.stdout)
    assert (report["model"], report["tune"]) == (TUNES["eye"], "eye")
    assert (report["tiles"], report["tile_px"]) == (1, 1024)
    stages = ["reading", "loading the model", "analysis", "passes", "entropy coding", "writing"]
    assert [name for name in report["stages"] if name in stages] == stages
    assert sum(report["stages"].values()) == pytest.approx(report["seconds"], rel=0.2, abs=0.1)
    with Image.open(photo) as image:
        psnr = _psnr_db(np.asarray(image), np.asarray(imgcodec.decode(cvb)))
    assert report["psnr"] == pytest.approx(psnr)
    assert f"{TUNES['eye']} (tune eye), quality 60, 1 tile of 1024 px" in result.stderr
    assert f"PSNR {psnr:.2f} dB, SSIMULACRA2 " in result.stderr
    if "ssimulacra2" in report:
        assert f"SSIMULACRA2 {report['ssimulacra2']:.2f}" in result.stderr
    plain = json.loads(invoke("encode", photo, cvb, "-f", "--json").stdout)
    assert "psnr" not in plain
    assert set(plain) == set(report) - {"psnr", "ssimulacra2"}


def test_verbose_measures_what_is_shown(invoke, tmp_path):
    """Turned by an EXIF that is not kept, without loss: an infinite PSNR is null in JSON."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(path, exif=exif)
    options = ("-v", "--json", "--lossless", "--metadata", "none", "-m", "vq")
    result = invoke("encode", path, tmp_path / "a.cvb", *options)
    report = json.loads(result.stdout)
    assert report["psnr"] is None
    assert report["tune"] is None
    assert "PSNR infinite" in result.stderr


def test_a_file_that_is_cut_off_is_shown_on_request(invoke, stream, tmp_path):
    path = tmp_path / "cut.cvb"
    path.write_bytes(stream[: len(stream) // 2])
    assert invoke("decode", path).exit_code == 3
    assert not path.with_suffix(".png").exists()
    result = invoke("decode", path, "--allow-truncated")
    assert result.exit_code == 0
    assert f"{len(stream) // 2} of {len(stream)} bytes are there" in result.stderr
    assert "used are the passes z" in result.stderr
    with Image.open(path.with_suffix(".png")) as image:
        assert image.size == (130, 96)
    path.write_bytes(stream[:21])
    assert invoke("decode", path, tmp_path / "no.png", "--allow-truncated").exit_code == 3


def test_a_part_or_a_reduction_is_decoded(invoke, cvb, tmp_path):
    for options, size in (
        (["--crop", "10,20,30,40"], (30, 40)),
        (["--scale", "1/8"], (17, 12)),
        (["--scale", "4", "--crop", "0,0,130,10"], (33, 3)),
    ):
        report = json.loads(
            invoke("decode", cvb, tmp_path / "a.png", "-f", "--json", *options).stdout
        )
        assert (report["width"], report["height"]) == size
        with Image.open(tmp_path / "a.png") as image:
            assert image.size == size


@pytest.mark.parametrize(
    "options",
    [
        ["--crop", "0,0,131,10"],
        ["--crop", "0,0,0,10"],
        ["--crop", "1,2,3"],
        ["--crop", "-1,0,3,3"],
        ["--scale", "1/3"],
        ["--scale", "0.5"],
    ],
    ids=" ".join,
)
def test_wrong_parts_are_usage_errors(invoke, cvb, tmp_path, options):
    assert invoke("decode", cvb, tmp_path / "a.png", *options).exit_code == 2
    assert not (tmp_path / "a.png").exists()
