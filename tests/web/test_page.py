"""The decoder and the page in Chromium: same pixels, same refusals as the command line."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

import imgcodec
from imgcodec.web.serve import Server
from tests.codec.conftest import smooth_pictures
from tests.web.conftest import DECODE, WAIT_S, address, pixels_of

ERRORS = {
    "CorruptStreamError",
    "TruncatedStreamError",
    "UnsupportedVersionError",
    "UnknownModelError",
}


def decode_all(page: Any, files: list[bytes], **options: Any) -> list[dict[str, Any]]:
    """Return what the worker of the page answers to each file."""
    texts = [base64.b64encode(data).decode() for data in files]
    answers: list[dict[str, Any]] = page.execute_async_script(DECODE, texts, options)
    return answers


def text_on_a_photograph() -> np.ndarray:
    """Return a picture of which some blocks are exact."""
    picture = Image.fromarray(smooth_pictures(1, side=256)[0])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 255, 95), fill="white")
    for line in range(6):
        draw.text((6, 4 + 15 * line), "The quick brown fox jumps over it", fill="black")
    return np.asarray(picture)


def pictures() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return pictures with the options to encode them, by what they show."""
    waves = smooth_pictures(3, side=160)
    alpha = np.dstack([waves[1], np.tile(np.arange(160, dtype=np.uint8), (160, 1))])
    return {
        "beta": (waves[0][:150, :131], {"quality": 60}),
        "squared error": (waves[0], {"quality": 40, "tune": "psnr"}),
        "hier": (waves[1], {"quality": 50, "model": "hier"}),
        "half size": (waves[0][:151, :131], {"quality": 3}),
        "half size of hier": (waves[1][:90], {"quality": 2, "model": "hier"}),
        "vq": (waves[2], {"quality": 70, "model": "vq"}),
        "cv": (waves[2], {"quality": 70, "model": "cv"}),
        "digits": (waves[0][:64, :64, 0], {"quality": 50, "model": "convvae"}),
        "alpha": (alpha, {"quality": 60}),
        "one alpha": (np.dstack([waves[1], np.full((160, 160), 99, np.uint8)]), {"quality": 30}),
        "grey": (waves[0][:, :, 0], {"quality": 60}),
        "grey and alpha": (Image.fromarray(alpha).convert("LA"), {"quality": 60}),
        "tiles": (np.tile(waves[0], (2, 3, 1))[:300, :430], {"quality": 40, "tile_px": 256}),
        "tiles of hier": (
            np.tile(waves[0], (2, 3, 1))[:300, :430],
            {"quality": 40, "tile_px": 256, "model": "hier"},
        ),
        "exact blocks": (text_on_a_photograph(), {"quality": 60}),
        "lossless": (waves[0], {"exact": "all"}),
        "a pixel": (np.full((1, 1, 3), 77, np.uint8), {"quality": 60}),
    }


@pytest.mark.parametrize("name", list(pictures()))
def test_pixels_are_those_of_the_command_line(decoder, name):
    picture, options = pictures()[name]
    data = imgcodec.encode(picture, **options)
    (answer,) = decode_all(decoder, [data])
    assert "png" in answer, answer
    expected = imgcodec.decode(data)
    found = pixels_of(base64.b64decode(answer["png"]))
    assert found.shape == np.asarray(expected).shape
    assert np.abs(found - np.asarray(expected).astype(int)).max() <= 1
    if name == "exact blocks":
        assert 0 < answer["info"]["exactShare"] < 1
    if name == "lossless":
        assert np.array_equal(found, picture)


def test_further_decoders_are_offered_and_used(decoder):
    data = imgcodec.encode(smooth_pictures(1, side=160)[0], quality=20)
    answers = [decode_all(decoder, [data], decoder=name)[0] for name in ("fidelity", "natural")]
    assert answers[0]["info"]["decoders"] == ["fidelity", "natural"]
    first, second = (pixels_of(base64.b64decode(answer["png"])) for answer in answers)
    expected = np.asarray(imgcodec.decode(data, decoder="natural")).astype(int)
    assert np.abs(second - expected).max() <= 1
    assert np.abs(first - expected).max() > 1
    assert "no decoder 'other'" in decode_all(decoder, [data], decoder="other")[0]["error"]


def test_metadata_go_into_the_saved_file(decoder):
    picture = Image.fromarray(smooth_pictures(1, side=64)[0])
    exif = Image.Exif()
    exif[0x010E] = "waves"
    stream = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(stream, "PNG", exif=exif, icc_profile=profile)
    data = imgcodec.encode(stream.getvalue(), quality=50)
    (answer,) = decode_all(decoder, [data])
    saved = Image.open(io.BytesIO(base64.b64decode(answer["png"])))
    assert saved.getexif()[0x010E] == "waves"
    assert saved.info["icc_profile"] == profile


@pytest.mark.parametrize("model", ["beta", "hier"])
def test_beginnings_are_shown_as_the_command_line_shows_them(decoder, model):
    data = imgcodec.encode(smooth_pictures(1, side=192)[0], quality=60, model=model)
    for share in (0.3, 0.6, 0.9):
        part = data[: round(share * len(data))]
        (answer,) = decode_all(decoder, [part], allowTruncated=True)
        expected = np.asarray(imgcodec.decode(part, allow_truncated=True)).astype(int)
        found = pixels_of(base64.b64decode(answer["png"]))
        assert np.abs(found - expected).max() <= 1
        assert not answer["info"]["isComplete"]


def test_wrong_files_get_the_messages_of_the_command_line(decoder):
    data = imgcodec.encode(smooth_pictures(1, side=64)[0], quality=50)
    other = data[:4] + bytes([1, 2, 3, 4]) + data[8:]
    cases = [b"", b"GIF89a", data[:-1], data + b"x", data[:3] + b"\x09" + data[4:], other]
    cases += [data[:30] + bytes([data[30] ^ 1]) + data[31:]]
    for case, answer in zip(cases, decode_all(decoder, cases), strict=True):
        with pytest.raises(imgcodec.CodecError) as caught:
            imgcodec.decode(case)
        assert answer["error"] == str(caught.value)
        assert answer["name"] == type(caught.value).__name__


def test_a_thousand_hostile_files_end_in_a_message(decoder):
    rng = random.Random(5)
    waves = smooth_pictures(1, side=48)[0]
    alpha = np.dstack([waves, np.tile(np.arange(48, dtype=np.uint8), (48, 1))])
    good = [imgcodec.encode(waves, quality=30), imgcodec.encode(alpha, quality=30)]
    good += [imgcodec.encode(text_on_a_photograph(), quality=50)]
    good += [imgcodec.encode(waves, quality=30, model=name) for name in ("hier", "vq")]
    files = []
    for number in range(1000):
        data = bytearray(good[number % len(good)])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1 and len(data) > 8:
                del data[at:]
                data = data or bytearray(b"C")
            elif kind == 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            else:
                data[at : at + 4] = rng.randbytes(4)
        files.append(bytes(data))
    answers = decode_all(decoder, files)
    assert len(answers) == 1000
    for data, answer in zip(files, answers, strict=True):
        assert data in good or answer.get("name") in ERRORS, answer
        assert answer.get("error", "x")
    assert "png" in decode_all(decoder, good[:1])[0]  # and the page still works


# ---- the page ----------------------------------------------------------------------------


def wait_for(page: Any, script: str) -> Any:
    """Wait until an expression is true, and return it."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, WAIT_S).until(lambda p: p.execute_script(f"return {script}"))


def show(page: Any, server: Server) -> None:
    """Open the page with its file, as `imgcodec view` does, until all of it is shown."""
    page.get(f"{address(server)}?file={quote(server.paths[0], safe='')}")
    wait_for(page, "document.body.dataset.shown === 'whole'")


def test_a_file_is_shown_with_its_facts(serve, browser, tmp_path):
    file = tmp_path / "some waves.cvb"
    file.write_bytes(imgcodec.encode(smooth_pictures(1, side=160)[0], quality=60))
    show(browser, serve(file))
    assert browser.title == "some waves.cvb"
    facts = browser.find_element("id", "table").text
    assert "160 x 160 px" in facts
    assert f"{file.stat().st_size:,} (" in facts
    assert "segment 1" in browser.find_element("id", "chunks").text
    assert not browser.find_element("id", "message").is_displayed()


def test_originals_are_compared_with_a_slider(serve, browser, tmp_path):
    picture = smooth_pictures(1, side=160)[0]
    file, original = tmp_path / "x.cvb", tmp_path / "x.png"
    file.write_bytes(imgcodec.encode(picture, quality=1))
    Image.fromarray(picture).save(original)
    show(browser, serve(file))
    assert not browser.find_element("id", "slider").is_displayed()
    browser.find_element("id", "files").send_keys(str(original))
    wait_for(browser, "!document.getElementById('slider').hidden")
    browser.execute_script(
        "const s = document.getElementById('share'); s.value = 25;"
        "s.dispatchEvent(new Event('input'))"
    )
    clip = browser.execute_script("return document.getElementById('original').style.clipPath")
    assert "75%" in clip


def test_a_broken_file_says_so(serve, browser, tmp_path):
    file = tmp_path / "broken.cvb"
    file.write_bytes(imgcodec.encode(smooth_pictures(1, side=64)[0], quality=60)[:-3])
    page = browser
    page.get(f"{address(serve(file))}?file=%2Ffiles%2F0%2Fbroken.cvb")
    wait_for(page, "!document.getElementById('message').hidden")
    assert "the stream is cut short" in page.find_element("id", "message").text


def test_zoom_keeps_the_point_under_the_pointer(serve, browser, tmp_path):
    file = tmp_path / "x.cvb"
    file.write_bytes(imgcodec.encode(smooth_pictures(1, side=160)[0], quality=60))
    show(browser, serve(file))
    assert browser.find_element("id", "zoom").text.strip() == "100 %"
    browser.find_element("id", "in").click()
    assert browser.find_element("id", "zoom").text.strip() == "141 %"
    browser.find_element("id", "fit").click()
    assert browser.find_element("id", "zoom").text.strip() == "100 %"


def test_nothing_scrolls_sideways_on_a_telephone(
    serve: Callable[..., Server], browser: Any, narrow: Any, tmp_path: Path
):
    file = tmp_path / "a rather long name of a picture that is shown.cvb"
    file.write_bytes(imgcodec.encode(smooth_pictures(1, side=160)[0], quality=60))
    narrow(420)
    show(browser, serve(file))
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, there = browser.execute_script(f"return {widths}")
    assert wide <= there


def test_the_element_shows_a_file_in_any_page(serve, browser, tmp_path):
    file = tmp_path / "x.cvb"
    file.write_bytes(imgcodec.encode(smooth_pictures(1, side=160)[0], quality=60, model="hier"))
    server = serve(file)
    browser.get(address(server))
    browser.set_script_timeout(WAIT_S)
    size = browser.execute_async_script(
        """
        const [path, done] = arguments;
        import("/cvb-img.js").then(() => {
          const picture = document.createElement("cvb-img");
          picture.addEventListener("load", ({ detail }) => {
            if (detail.isComplete) done([picture.image.width, picture.image.alt]);
          });
          picture.addEventListener("error", ({ detail }) => done(detail));
          picture.setAttribute("alt", "waves");
          picture.setAttribute("src", path);
          document.body.append(picture);
        });
        """,
        server.paths[0],
    )
    assert size == [160, "waves"]
