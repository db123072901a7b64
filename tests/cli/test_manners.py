"""What usage brings up: wrong options, odd outputs, suffixes, permissions, warnings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import imgcodec
from imgcodec.codec.files import temporary_name
from tests.codec.conftest import make_tiny_weights


@pytest.fixture
def see_through(tmp_path):
    """A .cvb file of a red picture, half of it transparent."""
    image = Image.new("RGBA", (32, 16), (250, 10, 10, 255))
    image.paste((250, 10, 10, 0), (0, 0, 16, 16))
    path = tmp_path / "half.cvb"
    path.write_bytes(imgcodec.encode(image, quality=90))
    return path


@pytest.mark.parametrize("suffix", [".bmp", ".dib", ".gif", ".jpg", ".ppm", ".pcx"])
def test_transparency_is_refused_or_laid_on_a_background(invoke, see_through, suffix):
    target = see_through.with_suffix(suffix)
    result = invoke("decode", see_through, target)
    assert result.exit_code == 2
    assert "no transparency" in result.stderr
    assert not target.exists()
    result = invoke("decode", see_through, target, "--background", "white")
    if suffix == ".gif" and "256 colours" in result.stderr:
        return
    assert result.exit_code == 0
    with Image.open(target) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(rgb[:, :16] - 255).max() < 8
        assert np.abs(rgb[:, 20:] - [250, 10, 10]).mean() < 12


def test_a_background_that_is_no_colour_is_a_usage_error(invoke, see_through):
    result = invoke("decode", see_through, "--background", "colour")
    assert result.exit_code == 2
    assert "no colour" in result.stderr
    assert not see_through.with_suffix(".png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "encode photo.png -m convvae --effort 3",
        "encode photo.png -m hier --level-bits 1",
        "encode photo.png --target-psnr nan",
        "encode photo.png --target-bpp nan",
        "encode photo.png --target-psnr inf",
        "encode photo.png --metadata what",
        "encode photo.png --level-bits what",
        "sample -m convvae --seed -1 a.png",
        "sample -m convvae a.nosuch",
        "codebook a.nosuch",
        "preview file.cvb --sheet a.nosuch",
        "inspect file.cvb --heatmap a.nosuch",
        "decode file.cvb a.nosuch",
        "decode file.cvb a.png --crop 0,0,999,999",
        "train text.yaml --data photo.png",
        "train binary.yaml --data photo.png",
        "train beta --data photo.png --set a.b=[",
        "train beta --data photo.png --set train.crop_px=0",
        "train beta --data photo.png --set train.batch_size=-1",
        "levels --dataset photo.png -m beta",
        "compare photo.png --codecs jpeg --crop 0,0,999,999",
        "bench --codecs= --dataset photo.png --metrics psnr --out b",
        "match --codec jpeg --against= --dataset photo.png --metrics psnr",
        "match --codec jpeg@nan --dataset photo.png --metrics psnr",
    ],
)
def test_wrong_options_are_usage_errors(invoke, photo, cvb, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.yaml").write_text("text")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    result = invoke(*arguments.split())
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_wrong_option_ends_a_process_without_a_traceback(run_cli, photo):
    result = run_cli("encode", photo, "--metadata", "what")
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(b"Error: ")


@pytest.mark.parametrize(
    "arguments",
    [
        "train beta --data bad.tar --out run",
        "train beta --data bad --out run",
        "train beta --data photo.png --init bad.safetensors --out run --set train.steps=1",
        "train beta --data photo.png --init bare.safetensors --out run --set train.steps=1",
        "export bad.safetensors o.safetensors --provenance x",
        "export bare.safetensors o.safetensors --provenance x",
        "export bare.safetensors bad.a.safetensors --provenance x --decoder-of bad.safetensors",
    ],
)
def test_wrong_files_are_named_in_one_line(invoke, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 200)
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "bare.safetensors")
    Image.effect_noise((300, 300), 50).convert("RGB").save(tmp_path / "photo.png")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/bad.png").write_bytes(b"no picture")
    result = invoke(*arguments.split())
    assert result.exit_code in (1, 3, 4)
    assert isinstance(result.exception, SystemExit)
    assert "ba" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_stdout_by_name_is_stdout(invoke, photo, cvb, command):
    source = {"encode": photo, "decode": cvb}[command]
    result = invoke(command, source, "/dev/stdout")
    assert result.exit_code == 0
    assert result.stdout_bytes == invoke(command, source, "-").stdout_bytes


@pytest.fixture
def pipe():
    """The end of a pipe to write to, and a function that closes it and returns what came."""
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1) as pool, os.fdopen(reading, "rb") as file:
        content = pool.submit(file.read)

        def received():
            os.close(writing)
            return content.result()

        yield writing, received


def test_open_files_are_outputs(invoke, cvb, tmp_path, pipe):
    expected = invoke("decode", cvb, "-").stdout_bytes
    writing, received = pipe
    assert invoke("decode", cvb, f"/dev/fd/{writing}").exit_code == 0
    assert received() == expected
    with (tmp_path / "open.png").open("wb") as file:
        assert invoke("decode", cvb, f"/proc/self/fd/{file.fileno()}").exit_code == 0
    assert (tmp_path / "open.png").read_bytes() == expected
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        assert invoke("decode", cvb, tmp_path / "pipe").exit_code == 0
        assert reader.stdout.read() == expected
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    "script",
    [
        "decode file.cvb /dev/fd/7 7> seven.png",
        pytest.param("decode file.cvb >(cat > seven.png); sleep 1", marks=pytest.mark.slow),
    ],
)
def test_a_shell_names_open_files(root, cvb, tmp_path, script):
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = f"{sys.executable} -m imgcodec {script}"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
    with Image.open(tmp_path / "seven.png") as image:
        assert (image.format, image.size) == ("PNG", (130, 96))


def test_names_as_long_as_the_file_system_allows(invoke, cvb, tmp_path):
    target = tmp_path / f"{'n' * 251}.png"
    assert invoke("decode", cvb, target).exit_code == 0
    assert invoke("encode", target).exit_code == 0
    assert target.with_suffix(".cvb").exists()
    for name in ("a", "ä" * 127, "n" * 255, "n" * 101):
        assert len(os.fsencode(temporary_name(name))) <= max(len(os.fsencode(name)), 114)


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """Small weights of a discrete family."""
    return make_tiny_weights("vq", tmp_path_factory.mktemp("codes"))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_other_commands_write_what_the_suffix_says(invoke, cvb, codes, tmp_path, suffix):
    format = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".jpg": "JPEG"}[suffix]
    path = tmp_path / f"a{suffix}"
    for arguments in (
        ("inspect", cvb, "--heatmap", path),
        ("preview", cvb, "--sheet", path),
        ("sample", "-m", "convvae", "-n", 2, path),
        ("codebook", "-m", codes, path),
    ):
        assert invoke(*arguments).exit_code == 0
        with Image.open(path) as image:
            assert image.format == format
        path.unlink()


def test_overwriting_keeps_the_permissions(invoke, photo, tmp_path):
    target = tmp_path / "photo.cvb"
    target.write_bytes(b"old")
    target.chmod(0o600)
    assert invoke("encode", photo, "-f").exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o600


def test_warnings_of_pillow_are_messages(run_cli, tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.save(tmp_path / "a.tif", tiffinfo={270: "text"})
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[-4:] = b"\xff\xff\xff\x7f"  # another directory that is not there
    (tmp_path / "a.tif").write_bytes(data[:-40])
    result = run_cli("encode", "a.tif", "--quiet")
    assert b"Warning" not in result.stderr
    result = run_cli("encode", "a.tif", "-f")
    assert b"UserWarning" not in result.stderr


def test_colours_given_to_a_grey_model_are_a_warning(invoke, photo, tmp_path):
    result = invoke("encode", photo, "-m", "convvae")
    assert result.exit_code == 0
    assert "keeps no colours" in result.stderr
    Image.open(photo).convert("L").convert("RGB").save(tmp_path / "gray.png")
    assert "no colours" not in invoke("encode", tmp_path / "gray.png", "-m", "convvae").stderr


@pytest.mark.parametrize("command", ["match", "levels"])
def test_one_bad_image_is_named_and_left_out(invoke, tmp_path, synthetic_rgb, command):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(synthetic_rgb).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"no picture")
    options = {
        "match": ("--codec", "jpeg@30", "--against", "webp", "--metrics", "psnr"),
        "levels": ("--level-bits", "equal"),
    }[command]
    result = invoke(command, "--dataset", folder, *options, "--json")
    assert result.exit_code == 1
    assert str(folder / "bad.png") in result.stderr
    assert "1 of 2 images cannot be read" in result.stderr
    assert json.loads(result.stdout)


def test_compare_shows_the_picture_upright(invoke, synthetic_rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(synthetic_rgb).save(tmp_path / "a.png", exif=exif)
    target = tmp_path / "a.html"
    arguments = ("--codecs", "jpeg", "--crop", "0,100,96,30", "-o", target)
    assert invoke("compare", tmp_path / "a.png", *arguments).exit_code == 0


def psd(layers) -> bytes:
    """Return a PSD file of a 6x4 RGB picture (all 9) with raw layers of one shade each."""

    def planes(shade, channels=3):
        return b"\0\0" + bytes([shade]) * 24 * channels

    records, pixels = b"", b""
    for shade in layers:
        box = b"".join(n.to_bytes(4, "big") for n in (0, 0, 4, 6))
        channels = b"".join(n.to_bytes(2, "big") + (26).to_bytes(4, "big") for n in range(3))
        extra = bytes(4) + bytes(4) + b"\1a\0\0"
        records += box + b"\0\3" + channels + b"8BIMnorm\xff\0\0\0"
        records += len(extra).to_bytes(4, "big") + extra
        pixels += (b"\0\0" + bytes([shade]) * 24) * 3
    info = len(layers).to_bytes(2, "big") + records + pixels
    section = len(info).to_bytes(4, "big") + info
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + (4).to_bytes(4, "big") + (6).to_bytes(4, "big")
    head += b"\0\x08\0\3" + bytes(4) + bytes(4)
    return head + len(section).to_bytes(4, "big") + section + planes(9)


def test_frames_of_psd_are_the_picture_and_its_layers(invoke, tmp_path):
    path = tmp_path / "a.psd"
    path.write_bytes(psd([50, 200]))
    with Image.open(path) as image:
        assert image.n_frames == 2
    for frame, shade in ((None, 9), (0, 9), (1, 50), (2, 200)):
        options = [] if frame is None else ["--frame", frame]
        result = invoke("encode", path, "-f", "-q", 90, *options)
        assert result.exit_code == 0, result.stderr
        assert abs(np.asarray(imgcodec.decode(path.with_suffix(".cvb"))).mean() - shade) < 4
    result = invoke("encode", path, "-f", "--frame", 3)
    assert result.exit_code == 2
    assert "3, from 0" in result.stderr


def test_xpm_with_more_than_256_colours_is_read(invoke, tmp_path):
    keys = [f"{a}{b}" for a in "abcdefghijklmnopqr" for b in "abcdefghijklmnopqr"][:324]
    colours = [(n % 256, n // 2, 7) for n in range(324)]
    lines = [
        "18 18 324 2",
        *(f"{k} c #{r:02x}{g:02x}{b:02x}" for k, (r, g, b) in zip(keys, colours, strict=True)),
    ]
    lines += ["".join(keys[row * 18 : row * 18 + 18]) for row in range(18)]
    text = "/* XPM */\nstatic char *a[] = {\n" + ",\n".join(f'"{line}"' for line in lines) + "\n};"
    (tmp_path / "a.xpm").write_text(text)
    from imgcodec.codec.picture.read import read_picture

    picture = read_picture(tmp_path / "a.xpm")
    np.testing.assert_array_equal(picture.pixels.reshape(-1, 3), colours)


@pytest.mark.parametrize("quality", [np.int64(30), np.uint8(30), 30])
def test_whole_numbers_of_numpy_are_numbers(synthetic_rgb, quality):
    assert imgcodec.encode(synthetic_rgb, quality=quality) == imgcodec.encode(
        synthetic_rgb, quality=30
    )


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 0},
        {"quality": 1.5},
        {"quality": 5, "target_bpp": 1},
        {"target_psnr": float("nan")},
        {"effort": 10},
        {"level_bits": "auto"},
        {"metadata": "what"},
        {"tile_px": 300},
    ],
    ids=str,
)
def test_wrong_options_of_the_library_are_codec_errors(synthetic_rgb, options):
    with pytest.raises(imgcodec.OptionError) as caught:
        imgcodec.encode(synthetic_rgb, **options)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, imgcodec.CodecError)


def test_the_pillow_plugin_passes_effort_on(synthetic_rgb):
    import imgcodec.pillow

    assert imgcodec.pillow.FORMAT in Image.SAVE
    image, buffer = Image.fromarray(synthetic_rgb[:48, :64]), io.BytesIO()
    image.save(buffer, "CVB", quality=30, effort=2)
    assert buffer.getvalue() == imgcodec.encode(image, quality=30, effort=2)
