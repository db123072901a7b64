"""How far work is: a bar on a terminal, lines in a log, nothing where it is to be quiet."""

from __future__ import annotations

import io

import pytest

from imgcodec.cli import console
from imgcodec.cli.console import Console


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **manners: bool) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with Console(**manners).progress("rows") as show:
        show(0.25, "1/4, a.png")
        show(1.0)
    return stream.getvalue()


def test_a_terminal_gets_a_bar_with_what_is_done(monkeypatch) -> None:
    text = shown(Screen(), monkeypatch)
    assert "25%" in text
    assert "1/4, a.png" in text
    assert "100%" in text
    assert shown(Screen(), monkeypatch, is_quiet=True) == ""


def test_what_is_done_at_once_gets_no_bar(monkeypatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    with Console().progress("decoding") as show:
        show(1.0)
    assert screen.getvalue() == ""


def test_a_log_gets_a_line_now_and_then(monkeypatch) -> None:
    assert shown(io.StringIO(), monkeypatch) == ""
    monkeypatch.setattr(console, "PROGRESS_INTERVAL_S", 0.0)
    assert shown(io.StringIO(), monkeypatch) == "rows: 25% 1/4, a.png\nrows: 100%\n"
    assert shown(io.StringIO(), monkeypatch, is_quiet=True) == ""
