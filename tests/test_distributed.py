"""Batches on a cluster: what becomes of which, from and to which storage, and dying workers."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

import imgcodec
from imgcodec import distributed
from imgcodec.distributed import Row, decode_many, encode_many


def png(side: int = 24) -> bytes:
    rows, columns = np.mgrid[0:side, 0:side]
    pixels = np.stack([rows * 9, columns * 9, rows + columns], -1).clip(0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An object store in this process, with a tree of files."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for name in ("a.png", "in/b.png", "in/deep/c.jpg", "in/deep/d.png", "in/notes.md"):
        fs.pipe_file(f"/{name}", name.encode())
    yield fs
    fs.store.clear()


def plan(*inputs: str) -> dict[str, str | None]:
    rows = distributed._plan(inputs, "memory://out/", ".cvb")
    return {row.source: row.target if row.status == "planned" else row.error for row in rows}


def test_patterns_are_mirrored_from_their_fixed_part(memory):
    assert plan("memory://a.png", "memory://in/d*/*", "memory:///in/deep/*.jpg") == {
        "memory:///a.png": "memory:///out/a.png.cvb",
        "memory:///in/deep/c.jpg": "memory:///out/deep/c.jpg.cvb",
        "memory:///in/deep/d.png": "memory:///out/deep/d.png.cvb",
    }
    assert list(plan("memory://in/**/*.png").values()) == [
        "memory:///out/b.png.cvb",
        "memory:///out/deep/d.png.cvb",
    ]


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.png").touch()
    (row,) = distributed._plan(["a b.png", "a*.png"], "out", ".cvb")
    assert row.source == f"file://{tmp_path}/a b.png"
    assert row.target == f"file://{tmp_path}/out/a b.png.cvb"


def test_inputs_without_an_output_of_their_own_are_problems(memory):
    memory.pipe_file("/a.jpg", b"")
    memory.pipe_file("/other/a.png", b"")
    assert plan("memory://a.png", "memory://a.jpg", "memory://other/a.png", "memory://no*") == {
        "memory:///a.png": "memory:///out/a.png.cvb",
        "memory:///a.jpg": "memory:///out/a.jpg.cvb",
        "memory:///other/a.png": "its output would be that of memory:///a.png",
        "memory://no*": "no file fits the pattern",
    }


@pytest.mark.parametrize("folder", ["memory://out", "file"])
def test_a_row_is_done_skipped_or_reported(memory, tmp_path, folder):
    if folder == "file":
        folder = (tmp_path / "deep/out").as_uri()
    memory.pipe_file("/good.png", png())

    def handle(name, skip_existing=False, **options):
        row = vars(Row(f"memory://{name}.png", f"{folder}/{name}.cvb", "planned"))
        return Row(**distributed.handle_row(row, distributed._encode, skip_existing, options))

    good = handle("good", quality=30)
    data = fsspec.open(good.target, "rb").open().read()
    assert (good.status, good.bytes, good.error) == ("ok", len(data), None)
    assert data == imgcodec.encode(png(), quality=30)
    skipped = Row(good.source, good.target, "skipped", len(data))
    assert handle("good", skip_existing=True) == skipped
    text = handle("a")
    assert (text.status, text.bytes) == ("failed", 0)
    assert "not a picture" in text.error
    assert handle("missing").status == "failed"
    assert "quality must be" in handle("good", quality=0).error
    fs, path = fsspec.core.url_to_fs(folder)
    assert [Path(file).name for file in fs.find(path)] == ["good.cvb"]


def test_a_move_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    target = tmp_path / "a.cvb"
    target.write_bytes(b"old")

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(fsspec.filesystem("file").__class__, "mv", fail)
    with pytest.raises(OSError, match="no space"):
        distributed.write_file(str(target), b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.cvb", b"old")]


def test_wrong_options_raise_before_any_work():
    with pytest.raises(TypeError, match="qualty"):
        encode_many([], "out", qualty=30)
    with pytest.raises(TypeError, match="quality"):
        decode_many([], "out", quality=30)
    with pytest.raises(imgcodec.ImageFormatError, match="xyz"):
        decode_many([], "out", suffix=".xyz")


def test_dying_workers_lose_nothing_but_what_kills_them(tmp_path, monkeypatch):
    """One dies between writing and moving its first file, others whenever they try theirs."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    monkeypatch.setattr(distributed, "MAX_ATTEMPTS", 2)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder, out, mark = tmp_path / "in", tmp_path / "out", tmp_path / "died"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a", "dies-once", "deep/b", "always-dies")):
        (folder / f"{name}.png").write_bytes(png(20 + number))
    (folder / "bad.png").write_bytes(png()[:60])

    def make_mortal():
        """Patch a worker when it starts."""
        from fsspec.implementations.local import LocalFileSystem

        read, move = LocalFileSystem.cat_file, LocalFileSystem.mv

        def cat_file(self, path, *args, **kwargs):
            if "always-dies" in path:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(self, path, *args, **kwargs)

        def mv(self, source, target, **kwargs):
            if "dies-once" in target and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return move(self, source, target, **kwargs)

        LocalFileSystem.cat_file, LocalFileSystem.mv = cat_file, mv

    ray.init(
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"worker_process_setup_hook": make_mortal},
    )
    try:
        rows = encode_many(f"{folder.as_uri()}/**/*.png", out.as_uri(), quality=20)
    finally:
        ray.shutdown()
    assert mark.exists()
    found = {Path(row.source).stem: row for row in rows}
    assert len(found) == len(rows) == 5
    failed = {name for name, row in found.items() if row.status == "failed"}
    assert failed == {"bad", "always-dies"}
    assert "worker died" in found["always-dies"].error
    assert "cannot read the picture" in found["bad"].error
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    complete = {name for name in files if name.endswith(".cvb")}
    assert complete == {"a.png.cvb", "dies-once.png.cvb", "deep/b.png.cvb"}
    for name in complete:
        source = (folder / name).with_suffix("")
        assert (out / name).read_bytes() == imgcodec.encode(source, quality=20)
    (left,) = files - complete  # of the one that died before it could move
    assert left.startswith(".dies-once.png.cvb.") and left.endswith(".tmp")
