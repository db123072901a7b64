"""The examples of `--help`: each is run, or at least parsed where it needs data or hours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import imgcodec
from imgcodec.cli.main import cli

PIPE = re.compile(r"^(?:[^|]*\| )?(imgcodec .*?)(?: {2,}.*| >>? .*| \| .*)?$")
NOT_RUN = re.compile(
    "imgcodec (bench|match|levels|view|datasets (fetch|verify)|sample .*--(attribute|size))"
)
"""They need data sets, time, or a page that is built (`test_view.py`)."""
LARGE_PX = (1320, 1720)


def _examples() -> Iterator[str]:
    """Yield the command lines of all help texts, without comments, pipes and redirections."""
    context = click.Context(cli)
    commands: list[click.Command] = [cli]
    while commands:
        command = commands.pop(0)
        for line in f"{command.help or ''}\n{command.epilog or ''}".splitlines():
            if (match := PIPE.match(line.strip())) is not None:
                yield match[1]
        if isinstance(command, click.Group):
            found = map(
                lambda name: command.get_command(context, name), command.list_commands(context)
            )
            commands += [entry for entry in found if entry is not None]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Streams that examples start from."""
    pixels = (
        np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    )
    alpha = np.dstack([pixels, pixels[..., :1]])
    large = np.full((*LARGE_PX, 3), 200, np.uint8)
    return {
        "eye": imgcodec.encode(pixels, exact="none"),
        "alpha": imgcodec.encode(alpha),
        "large": imgcodec.encode(large, exact="all"),
        "pixels": pixels.tobytes(),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the examples name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lines() -> Iterator[object]:
    """Yield them once each; one codebook of full size takes long enough."""
    for line in dict.fromkeys(_examples()):
        is_slow = line.startswith("imgcodec codebook --model")
        yield pytest.param(line, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize("line", list(_lines()))
def test_examples_of_help_work(invoke, folder, files, line):
    picture = Image.frombytes("RGB", (64, 48), files["pixels"])
    for name in (
        "photo.png",
        "screenshot.png",
        "a.png",
        "b.png",
        "b.jpg",
        "more/c.tif",
        "photos/d.png",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        picture.save(folder / name)
    stream = files["large" if "--crop" in line else "eye"]
    (folder / "out").mkdir()
    for name in ("photo.cvb", "out/e.cvb"):
        (folder / name).write_bytes(stream)
    (folder / "logo.cvb").write_bytes(files["alpha"])
    (folder / "download.cvb.part").write_bytes(stream[:-20])
    (folder / "bench-old").mkdir()
    (folder / "bench-old" / "rows.csv").write_text("")
    words = shlex.split(line)[1:]
    if NOT_RUN.match(line):
        command, context = cli, click.Context(cli)
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        command.make_context(command.name, words)
        return
    if words[:2] == ["decode", "photo.cvb"] and len(words) == 2:
        (folder / "photo.png").unlink()
    if words[:2] == ["encode", "photo.png"]:
        (folder / "photo.cvb").unlink()
    result = invoke(*words, stdin=(folder / "photo.png").read_bytes() if "- " in line else None)
    assert result.exit_code == 0, result.output


def test_all_commands_with_options_have_examples():
    assert len(set(_examples())) > 40
