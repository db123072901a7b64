"""Names of outputs, overwriting, atomic writing."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from imgcodec.cli.errors import Failure
from imgcodec.cli.files import choose_output, read_source, write_bytes


def test_output_defaults_to_input_with_other_suffix(photo):
    assert choose_output(str(photo), None, ".cvb", force=False) == str(photo.with_suffix(".cvb"))


def test_output_of_stdin_defaults_to_stdout():
    assert choose_output("-", None, ".cvb", force=False) == "-"


def test_existing_output_is_refused_without_force(photo, tmp_path):
    (tmp_path / "old.cvb").write_bytes(b"old")
    with pytest.raises(Failure, match="-f overwrites"):
        choose_output(str(photo), str(tmp_path / "old.cvb"), ".cvb", force=False)
    chosen = choose_output(str(photo), str(tmp_path / "old.cvb"), ".cvb", force=True)
    assert chosen == str(tmp_path / "old.cvb")


def test_output_that_is_the_input_is_refused_even_with_force(photo):
    with pytest.raises(click.UsageError, match="is the input"):
        choose_output(str(photo), str(photo), ".cvb", force=True)


def test_missing_folder_is_reported(photo, tmp_path):
    with pytest.raises(Failure, match="no such folder"):
        choose_output(str(photo), str(tmp_path / "nowhere" / "a.cvb"), ".cvb", force=False)


def test_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.cvb"
    path.write_bytes(b"longer than the new content")
    write_bytes(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.cvb"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.cvb"
    path.write_bytes(b"old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.cvb"]


def test_write_goes_through_a_symbolic_link(tmp_path):
    (tmp_path / "real.cvb").write_bytes(b"old")
    (tmp_path / "link.cvb").symlink_to(tmp_path / "real.cvb")
    write_bytes(str(tmp_path / "link.cvb"), b"new")
    assert (tmp_path / "link.cvb").is_symlink()
    assert (tmp_path / "real.cvb").read_bytes() == b"new"


def test_device_is_written_to_and_not_replaced():
    write_bytes(os.devnull, b"data")
    assert Path(os.devnull).is_char_device()


def test_source_is_a_path(photo):
    assert read_source(str(photo)) == photo
