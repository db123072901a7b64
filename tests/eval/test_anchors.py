"""Codecs of others: round trips, agreement with plain Pillow, command lines, clear errors."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from imgcodec.codec.errors import UnknownModelError
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder
from imgcodec.codec.weights.installed import decoder_path, find_model
from imgcodec.eval.anchors.base import AnchorError, ImageCodec
from imgcodec.eval.anchors.ours import ImgcodecCodec
from imgcodec.eval.anchors.registry import codec_names, get_codec, split_names
from imgcodec.eval.metrics.pixel import mse, psnr_of_mse
from imgcodec.eval.style import codec_style

OTHERS = [name for name in codec_names() if not name.startswith("imgcodec")]
SLOW = {"avif-s2", "avif-420-s2", "jxl-e9"}


def available(name: str) -> ImageCodec:
    try:
        return get_codec(name)
    except AnchorError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", OTHERS)
def test_ladder_rises_in_bytes_and_psnr(name: str, photo_like) -> None:
    codec = available(name)
    settings = codec.settings[:: len(codec.settings) - 1 if name in SLOW else 4]
    sizes, quality = [], []
    for setting in settings:
        data = codec.encode(photo_like, setting)
        decoded = codec.decode(data)
        assert decoded.dtype == np.uint8
        assert decoded.shape == photo_like.shape
        sizes.append(len(data))
        quality.append(psnr_of_mse(mse(photo_like, decoded)))
    assert sizes == sorted(sizes)
    assert quality == sorted(quality)
    assert sizes[-1] > 3 * sizes[0]


@pytest.mark.parametrize("name", OTHERS)
def test_every_ladder_is_dense_enough_for_a_bd_rate(name: str) -> None:
    codec = available(name)
    assert 8 <= len(codec.settings) <= 12
    assert len({codec.describe(setting) for setting in codec.settings}) == len(codec.settings)
    assert codec.describe_codec()


def test_a_codec_names_the_weights_of_its_decoder() -> None:
    """Rows are kept as long as what measured them is the same."""
    codecs = [ImgcodecCodec("x", [50], "beta", decoder) for decoder in ("fidelity", "natural")]
    path = decoder_path(find_model("beta").path, "natural")
    with safe_open(path, "numpy") as file:
        own = file.metadata()["hash"][:8]
    first, natural = (codec.describe_codec() for codec in codecs)
    assert own in natural and own not in first
    with pytest.raises(UnknownModelError, match="nosuch"):
        ImgcodecCodec("x", [50], "beta", "nosuch").describe_codec()


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jxl", "heic"])
def test_odd_sizes_survive(name: str, photo_like) -> None:
    codec = available(name)
    small = np.ascontiguousarray(photo_like[:33, :17])
    assert codec.decode(codec.encode(small, codec.settings[-1])).shape == small.shape


@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 47), (33, 17)])
def test_half_size_files_are_those_of_the_smaller_picture(size, photo_like) -> None:
    """All bytes but one, which tells odd sides; the decoder enlarges as Pillow does."""
    codec = available("avif-half")
    rgb = np.ascontiguousarray(photo_like[: size[0], : size[1]])
    half = Image.fromarray(rgb).resize(
        ((size[1] + 1) // 2, (size[0] + 1) // 2), Image.Resampling.LANCZOS
    )
    data = codec.encode(rgb, 60)
    assert data[:-1] == available("avif").encode(np.asarray(half), 60)
    small = Image.fromarray(available("avif").decode(data[:-1]))
    decoded = codec.decode(data)
    assert decoded.shape == rgb.shape
    expected = small.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(decoded, np.asarray(expected))


@pytest.mark.parametrize(
    ("name", "format", "options"),
    [
        ("jpeg", "JPEG", {}),
        ("webp", "WEBP", {"method": 6}),
        ("avif", "AVIF", {"subsampling": "4:4:4", "speed": 6}),
    ],
)
def test_points_agree_with_plain_pillow(name, format, options, data_dir) -> None:
    """What a ten-line script does with Pillow gives the same bytes and the same PSNR."""
    codec = get_codec(name)
    image = Image.open(data_dir / "kodak" / "kodim23.png").crop((0, 0, 384, 256))
    rgb = np.asarray(image)
    for quality in codec.settings[1::4]:
        buffer = io.BytesIO()
        image.save(buffer, format, quality=quality, **options)
        back = np.asarray(Image.open(buffer).convert("RGB"), float)
        expected_bpp = len(buffer.getvalue()) * 8 / image.width / image.height
        expected_psnr = 10 * np.log10(255**2 / np.mean((back - rgb.astype(float)) ** 2))
        data = codec.encode(rgb, quality)
        assert len(data) * 8 / rgb[..., 0].size == pytest.approx(expected_bpp, abs=1e-3)
        assert psnr_of_mse(mse(rgb, codec.decode(data))) == pytest.approx(expected_psnr, abs=0.01)


def test_tunes_of_avif_change_the_bytes_and_each_description_names_its_own(data_dir) -> None:
    """libavif tunes for the eye by itself since 1.4: the default file is that of tune=iq."""
    from PIL import features

    with Image.open(data_dir / "kodak" / "kodim23.png") as image:
        rgb = np.asarray(image)[:256, :384]
    names = ("avif", "avif-psnr", "avif-ssim")
    codecs = [available(name) for name in names]
    files = [codec.encode(rgb, 50) for codec in codecs]
    assert len(set(files)) == 3
    assert "tune psnr" in codecs[1].describe_codec()
    assert "tune ssim" in codecs[2].describe_codec()
    version = tuple(int(part) for part in features.version("avif").split(".")[:2])
    if version < (1, 4):
        pytest.skip("this libavif does not tune for the eye by itself")
    buffer = io.BytesIO()
    options = {"quality": 50, "subsampling": "4:4:4", "speed": 6, "advanced": {"tune": "iq"}}
    Image.fromarray(rgb).save(buffer, "AVIF", **options)
    assert files[0] == buffer.getvalue()
    assert "tune iq (default)" in codecs[0].describe_codec()


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("jpeg", r"libjpeg(-turbo)? \d"),
        ("webp", r"libwebp \d"),
        ("jpeg2000", r"OpenJPEG \d"),
        ("avif", r"libavif \d.*aom"),
        ("jxl", r"libjxl \d"),
        ("heic", r"libheif \d"),
    ],
)
def test_description_has_the_version_of_the_library(name: str, library: str) -> None:
    assert re.search(library, available(name).describe_codec())


def test_seconds_of_entropy_coding_are_told_of_our_own_models(photo_like) -> None:
    codec = get_codec("imgcodec-beta")
    before = dict(vars(PassEncoder)), dict(vars(PassDecoder))
    with codec.entropy_clock() as seconds:
        data = codec.encode(photo_like[:64, :64], 60)
        encoding_s = seconds()
        codec.decode(data)
        assert 0 < encoding_s < seconds()
    assert (dict(vars(PassEncoder)), dict(vars(PassDecoder))) == before


def test_looks_name_the_tune_of_avif() -> None:
    labels = [codec_style(name).label for name in ("avif", "avif-420", "avif-psnr", "avif-ssim")]
    assert labels == [
        "AVIF (default tune)",
        "AVIF 4:2:0 (default tune)",
        "AVIF (tune psnr)",
        "AVIF (tune ssim)",
    ]


def test_settings_can_be_named() -> None:
    assert list(get_codec("jpeg@10,50,90").settings) == [10, 50, 90]
    assert list(get_codec("jpeg2000@0.5,1.0").settings) == [0.5, 1.0]
    assert get_codec("jpeg@10").name == "jpeg"


def test_split_names_keeps_settings_with_their_codec() -> None:
    assert split_names("jpeg@10,50, webp,,avif") == ["jpeg@10,50", "webp", "avif"]
    assert split_names("jpeg2000@0.5,1.5,jxl") == ["jpeg2000@0.5,1.5", "jxl"]


def test_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(AnchorError, match=r"unknown codec 'gif'.*jpeg, .*custom:NAME"):
        get_codec("gif")


def test_missing_package_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(AnchorError, match="pip install imagecodecs"):
        get_codec("jxl")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(AnchorError, match="pip install pillow-heif"):
        get_codec("heic")


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A codec of its own process: PNG to JPEG with `{q}`, and back."""
    path = tmp_path / "codec.py"
    path.write_text(
        "import sys\n"
        "from PIL import Image\n"
        "image = Image.open(sys.argv[1])\n"
        "if len(sys.argv) > 3:\n"
        "    image.save(sys.argv[2], 'JPEG', quality=int(sys.argv[3]))\n"
        "else:\n"
        "    image.save(sys.argv[2], 'PNG')\n"
    )
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def test_custom_command_is_a_codec(script: str, photo_like) -> None:
    codec = get_codec(f"custom:mine@20,80:{script} {{in}} {{out}} {{q}}:{script} {{in}} {{out}}")
    assert codec.name == "mine"
    assert list(codec.settings) == [20, 80]
    jpeg = get_codec("jpeg")
    data = codec.encode(photo_like, 80)
    assert data == jpeg.encode(photo_like, 80)
    assert np.array_equal(codec.decode(data), jpeg.decode(data))


def test_custom_command_that_fails_tells_its_stderr(photo_like) -> None:
    python = shlex.quote(sys.executable)
    fail = f"{python} -c 'import sys; sys.exit(\"no {{in}} no {{out}}\")'"
    codec = get_codec(f"custom:bad:{fail}:{fail}")
    with pytest.raises(AnchorError, match=r"exit code 1.*no /"):
        codec.encode(photo_like, 1)
    lazy = get_codec(f"custom:lazy:{python} -c 0 {{in}} {{out}}:{python} -c 0 {{in}} {{out}}")
    with pytest.raises(AnchorError, match=r"wrote no coded\.bin"):
        lazy.encode(photo_like, 1)
    absent = get_codec("custom:absent:/no/such/tool {in} {out}:x {in} {out}")
    with pytest.raises(AnchorError, match="No such file"):
        absent.encode(photo_like, 1)


@pytest.mark.parametrize(
    "text", ["custom:x", "custom:x:enc {in} {out}", "custom:x:enc:dec {in} {out}"]
)
def test_malformed_custom_codec_is_refused(text: str) -> None:
    with pytest.raises(AnchorError):
        get_codec(text)


def test_colon_in_a_command_can_be_escaped() -> None:
    codec = get_codec("custom:c:enc --size 1\\:2 {in} {out}:dec {in} {out}")
    assert codec.describe_codec() == "enc --size 1:2 {in} {out}"
