"""Many inputs: what becomes of which, and what one bad file or a dying process does."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import imgcodec
from imgcodec.cli.batch import BatchOptions, Item, attempt_in_processes, find_items
from imgcodec.cli.sources import LOG_NAME
from tests.cli.work import work_that_may_die


def options(folder="out", *, recursive=False, skip_existing=False, jobs=1):
    return BatchOptions(Path(folder), recursive, skip_existing, jobs)


def write_picture(path, side=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[0:side, 0:side]
    pixels = np.stack([rows * 9, columns * 9, rows + columns], -1).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def is_picture(path):
    return path.suffix in (".png", ".jpg")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a tree of pictures and other files."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "in/b.png", "in/deep/c.jpg", "in/deep/d.png", "in/.hidden/e.png"):
        write_picture(tmp_path / name)
    Path("in/notes.md").write_text("not a picture")
    Path("in/.f.png.0123abcd.tmp").write_bytes(b"half a file")
    return tmp_path


def find(inputs, batch):
    return find_items(inputs, batch, ".cvb", is_picture).items


def pairs(items):
    return {item.source: item.target for item in items}


def test_files_go_to_the_folder_itself(here):
    items = find(["a.png", "in/b.png"], options())
    assert pairs(items) == {"a.png": "out/a.png.cvb", "in/b.png": "out/b.png.cvb"}


def test_folders_are_mirrored_without_hidden_files(here):
    items = find(["in"], options(recursive=True))
    assert pairs(items) == {
        "in/b.png": "out/b.png.cvb",
        "in/deep/c.jpg": "out/deep/c.jpg.cvb",
        "in/deep/d.png": "out/deep/d.png.cvb",
    }


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", {"in/b.png": "out/b.png.cvb"}),
        ("in/d*/*", {"in/deep/c.jpg": "out/deep/c.jpg.cvb", "in/deep/d.png": "out/deep/d.png.cvb"}),
        ("in/**/d.png", {"in/deep/d.png": "out/deep/d.png.cvb"}),
        ("[ab].png", {"a.png": "out/a.png.cvb"}),
    ],
)
def test_patterns_are_mirrored_from_their_fixed_part(here, pattern, expected):
    assert pairs(find([pattern], options())) == expected
    absolute = find([str(here / pattern)], options())
    assert list(pairs(absolute).values()) == list(expected.values())


def test_an_input_named_twice_is_done_once(here):
    inputs = ["a.png", "./a.png", "*.png"]
    assert pairs(find(inputs, options())) == {"a.png": "out/a.png.cvb"}


def test_outputs_are_named_after_their_input_alone(here):
    write_picture(here / "a.jpg")
    write_picture(here / "other/a.png")
    items = find(["a.png", "a.jpg", "in/b.png"], options())
    assert pairs(items) == {
        "a.png": "out/a.png.cvb",
        "a.jpg": "out/a.jpg.cvb",
        "in/b.png": "out/b.png.cvb",
    }
    first, second = find(["a.png", "other/a.png"], options())
    assert first.problem is None
    assert second.problem == "its output would be that of a.png"


def test_inputs_that_do_not_exist_are_problems_of_their_own(here):
    items = find(["a.png", "no.png", "no*.png"], options())
    assert [item.problem for item in items] == [None, "no such file", "no file fits the pattern"]


def test_what_is_no_file_is_a_problem_of_its_own(here):
    Path("in/deep/folder.png").mkdir()
    Path("in/deep/folder.png/g.png").symlink_to("nowhere")
    Path("circle.png").symlink_to("circle.png")
    os.mkfifo("pipe.png")
    expected = {
        "in/deep/folder.png": "it is a folder",
        "in/deep/folder.png/g.png": "the link leads nowhere",
        "circle.png": os.strerror(errno.ELOOP),
        "pipe.png": "it is a pipe, a socket or a device",
    }
    for inputs, recursive in ((["."], True), (["in/deep/*", "**/g*.png", "[cp]*.png"], False)):
        items = find(inputs, options(recursive=recursive))
        assert {item.source: item.problem for item in items if item.problem} == expected
    named = ["circle.png", "pipe.png", "in/deep/folder.png/g.png"]
    items = find(named, options())
    assert {item.source: item.problem for item in items} == {n: expected[n] for n in named}


def test_what_may_not_be_read_is_reported(invoke, here):
    Path("in/b.png").chmod(0)
    if os.access("in/b.png", os.R_OK):
        pytest.skip("this user may read everything")
    for mode, name in ((0o000, "unlisted"), (0o400, "listed")):
        write_picture(here / "in" / name / "h.png")
        Path("in", name).chmod(mode)
    result = invoke("encode", "-r", "in", "-o", "out")
    assert result.exit_code == 1
    assert "2 done, 0 skipped, 3 failed" in result.stderr
    for name in ("in/b.png", "in/unlisted", "in/listed/h.png"):
        assert f"{name}: " in result.stderr
    for name in ("unlisted", "listed"):
        Path("in", name).chmod(0o700)


def test_names_up_to_the_limit_of_the_file_system_work(invoke, here):
    for name in (f"{'x' * 251}.png", f"{'ä' * 120}.png"):
        write_picture(here / name)
    result = invoke("encode", "a.png", f"{'x' * 251}.png", f"{'ä' * 120}.png", "-o", "out")
    assert result.exit_code == 0
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"a.png.cvb", f"{'x' * 251}.cvb", f"{'ä' * 120}.png.cvb", LOG_NAME}
    assert invoke("decode", f"out/{'x' * 251}.cvb", f"out/{'y' * 251}.png").exit_code == 0
    result = invoke("decode", "out/a.png.cvb", f"{'z' * 252}.png")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr


def test_an_output_that_is_the_input_is_refused(here):
    (item,) = find_items(["a.png"], options("."), "", is_picture).items
    assert item.problem == "the output would be the input"


@pytest.mark.parametrize(("name", "text"), [("in", "-r"), ("-", "stdin")])
def test_what_a_batch_cannot_take_is_a_usage_error(here, name, text):
    with pytest.raises(click.UsageError, match=text):
        find(["a.png", name], options())


def spoil(folder):
    """Put broken files, and what is no file, beside good ones; return their names."""
    good = Path(folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "text.jpg").write_text("this is text")
    (folder / "empty.png").write_bytes(b"")
    (folder / "zeros.jpg").write_bytes(bytes(500))
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "wide.png")
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("no such file")
    (folder / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(folder / "pipe.png")  # nobody will ever write to it
    return {path.name for path in folder.iterdir()} - {"good.png", "deep"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_files_are_reported_and_the_others_encoded(invoke, tmp_path, jobs):
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("good.png", "deep/good.jpg", "deep/better.png"):
        write_picture(folder / name)
    bad = spoil(folder)
    arguments = ["encode", "-r", folder, "-o", out, "--json", "--strict"]
    result = invoke(*arguments, "-j", jobs)
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {Path(line["input"]).name for line in lines if line["status"] == "failed"} == bad
    assert all(line["error"] for line in lines if line["status"] == "failed")
    done = [line for line in lines if line["status"] == "ok"]
    assert len(done) == 3
    for line in done:
        assert Path(line["output"]).stat().st_size == line["bytes"]
        assert imgcodec.decode(line["output"]).size == (20, 20)
    assert "3 done, 0 skipped, 10 failed" in result.stderr
    assert result.stderr.endswith("Error: 10 of 13 files failed\n")
    written = {str(file.relative_to(out)) for file in out.rglob("[!.]*") if file.is_file()}
    assert written == {"good.png.cvb", "deep/good.jpg.cvb", "deep/better.png.cvb"}

    times = {name: (out / name).stat().st_mtime_ns for name in written}
    again = invoke(*arguments, "--skip-existing")
    assert again.exit_code == 1
    assert "0 done, 3 skipped, 10 failed" in again.stderr
    assert times == {name: (out / name).stat().st_mtime_ns for name in written}


def test_decode_takes_batches_too(invoke, tmp_path, stream):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.cvb").write_bytes(stream)
    (folder / "deep/b.cvb").write_bytes(stream)
    (folder / "bad.cvb").write_bytes(stream[:-1])
    (folder / "photo.png").write_bytes(b"no input of a decoder")
    result = invoke("decode", "-r", folder, "-o", out)
    assert result.exit_code == 1
    assert "bad.cvb: " in result.stderr
    names = {str(file.relative_to(out)) for file in out.rglob("[!.]*.*")}
    assert names == {"a.png", "deep/b.png"}
    assert invoke("decode", folder / "*.cvb", "-o", out / "flat").exit_code == 1
    assert (out / "flat/a.png").read_bytes() == (out / "a.png").read_bytes()


def test_existing_outputs_fail_unless_forced_or_skipped(invoke, photo, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    target = out / "photo.png.cvb"
    target.write_bytes(b"precious")
    for extra in ([], ["--skip-existing"]):
        result = invoke("encode", photo, "-o", out, *extra)
        assert result.exit_code == 1
        assert "-f overwrites it" in result.stderr
        assert target.read_bytes() == b"precious"
    assert invoke("encode", photo, "-o", out, "--skip-existing", "-f").exit_code == 0
    assert imgcodec.decode(target).size == (130, 96)
    written_ns = target.stat().st_mtime_ns
    result = invoke("encode", photo, "-o", out, "--skip-existing", "-f")
    assert "0 done, 1 skipped, 0 failed" in result.stderr
    assert target.stat().st_mtime_ns == written_ns


def test_what_is_skipped_was_made_of_the_very_input(invoke, tmp_path):
    arguments = ["-o", tmp_path / "out", "--skip-existing"]
    for name, side in (("one/a.png", 20), ("two/a.png", 24), ("two/a.jpg", 24)):
        write_picture(tmp_path / name, side)
    assert invoke("encode", tmp_path / "one/a.png", *arguments).exit_code == 0
    result = invoke("encode", tmp_path / "two/a.jpg", *arguments)
    assert "1 done" in result.stderr
    result = invoke("encode", tmp_path / "two/a.png", *arguments)
    assert result.exit_code == 1
    assert "was not made of these bytes" in result.stderr
    (tmp_path / "moved").mkdir()
    (tmp_path / "one/a.png").rename(tmp_path / "moved/a.png")
    assert "1 skipped" in invoke("encode", tmp_path / "moved/a.png", *arguments).stderr
    write_picture(tmp_path / "moved/a.png", 21)
    assert invoke("encode", tmp_path / "moved/a.png", *arguments).exit_code == 1
    assert invoke("encode", tmp_path / "moved/a.png", *arguments, "-f").exit_code == 0
    assert "1 skipped" in invoke("encode", tmp_path / "moved/a.png", *arguments).stderr
    with (tmp_path / "out/a.png.cvb").open("ab") as file:
        file.write(b"x")
    assert invoke("encode", tmp_path / "moved/a.png", *arguments).exit_code == 1


def test_what_is_left_out_is_counted_by_suffix(invoke, here):
    for name in ("x.HEIC", "y.heic", "README", "deep/z.heic"):
        Path("in", name).write_bytes(b"x")
    Path("elsewhere").mkdir()
    write_picture(here / "elsewhere/e.png")
    Path("in/linked").symlink_to(here / "elsewhere")
    result = invoke("encode", "-r", "in", "-o", "out")
    assert result.exit_code == 0
    assert "left out: 3 .heic, 1 .md, 1 linked folder, 1 without suffix" in result.stderr


def test_a_batch_that_finds_nothing_fails_and_says_what_there_was(invoke, here):
    Path("other").mkdir()
    result = invoke("encode", "-r", "other", "-o", "out")
    assert result.exit_code == 1
    assert "no input found" in result.stderr
    Path("other/a.heic").write_bytes(b"x")
    result = invoke("encode", "-r", "other", "-o", "out")
    assert result.exit_code == 1
    assert "no input found; left out: 1 .heic" in result.stderr


def test_notes_of_the_library_name_the_file(invoke, tmp_path):
    Image.new("P", (5, 5)).save(tmp_path / "p.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "wide.png")
    result = invoke("encode", tmp_path / "*.png", "-o", tmp_path, "--json")
    assert result.exit_code == 0
    notes = {
        Path(line["input"]).name: line["notes"]
        for line in map(json.loads, result.stdout.splitlines())
    }
    assert notes == {
        "p.png": ["palette colours are converted to RGB"],
        "wide.png": ["16 bits a sample are reduced to 8"],
    }
    assert f"{tmp_path / 'wide.png'}: 16 bits a sample are reduced to 8" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a.png", "in/b.png"], "did you mean in/b.cvb, or -o DIR"),
        (["a.png", "in/b.png", "in/deep/d.png"], "several inputs need -o DIR"),
        (["*.png"], "a pattern of inputs needs -o DIR"),
        (["in"], "-r -o DIR"),
        (["a.png", "in"], "-o in writes to it"),
        (["a.png", "-r"], "need -o DIR"),
        (["a.png", "-j", "2"], "need -o DIR"),
        (["a.png", "--skip-existing"], "need -o DIR"),
        (["in", "-o", "out"], "-r takes the files in it"),
        (["a.png", "-o", "in/b.png"], "is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ambiguous_arguments_are_usage_errors(invoke, here, arguments, text):
    before = sorted(here.rglob("*"))
    result = invoke("encode", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert sorted(here.rglob("*")) == before


def test_two_streams_are_ambiguous_for_decode(invoke, here, stream):
    for name in ("a.cvb", "b.cvb"):
        Path(name).write_bytes(stream)
    result = invoke("decode", "a.cvb", "b.cvb")
    assert result.exit_code == 2
    assert "several inputs need -o DIR" in result.stderr


def test_an_existing_stream_is_an_output_of_encode(invoke, here):
    Path("old.cvb").write_bytes(b"old")
    assert invoke("encode", "a.png", "old.cvb").exit_code == 1  # exists
    assert invoke("encode", "a.png", "old.cvb", "-f").exit_code == 0


def test_old_leftovers_of_killed_processes_are_removed(invoke, photo, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    old = (".a.cvb.0123abcd.tmp", ".notes.tmp", "b.cvb.0123abcd.tmp")
    for name in (*old, ".c.cvb.0123abcd.tmp"):
        (out / name).write_bytes(b"half a file")
    for name in old:
        os.utime(out / name, (0, time.time() - 2 * 24 * 3600))
    assert invoke("encode", photo, "-o", out).exit_code == 0
    left = {file.name for file in out.iterdir()}
    assert left == {
        "photo.png.cvb",
        LOG_NAME,
        ".notes.tmp",
        "b.cvb.0123abcd.tmp",
        ".c.cvb.0123abcd.tmp",
    }


# ---- processes -----------------------------------------------------------------------------


def test_a_dying_process_loses_its_own_item_only(tmp_path):
    sources = ["a", "kill", "b", "raise", "c", "d", "e"]
    items = [Item(source, str(tmp_path / source)) for source in sources]
    outcomes = {o.item.source: o for o in attempt_in_processes(work_that_may_die, items, 2)}
    assert set(outcomes) == set(sources)
    assert {source for source in sources if outcomes[source].status == "ok"} == set("abcde")
    assert "process died" in outcomes["kill"].error
    assert outcomes["raise"].error == "ZeroDivisionError: a bug"


def test_processes_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (outcome,) = attempt_in_processes(work_that_may_die, [Item("a", str(tmp_path / "a"))], 1000)
    assert outcome.record == {"threads": "1"}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_kill_leaves_no_partial_file_and_no_process(tmp_path, root):
    for number in range(40):
        write_picture(tmp_path / f"in/{number}.png", side=150)
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    arguments = ["encode", "-r", "in", "-o", "out", "-j", "2", "--quiet"]
    command = [sys.executable, "-m", "imgcodec", *arguments]
    out = tmp_path / "out"
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("*.cvb")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(children) >= 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in children):
        assert time.monotonic() < deadline, "a process outlived its parent"
        time.sleep(0.05)
    done = {file.name for file in out.iterdir()} - {LOG_NAME}
    complete = {name for name in done if name.endswith(".cvb")}
    assert 0 < len(complete) < 40
    for name in complete:
        imgcodec.inspect(out / name, verify=True)
    assert all(name.startswith(".") and name.endswith(".tmp") for name in done - complete)
