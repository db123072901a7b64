"""The command group and the mapping of errors to exit codes."""

from __future__ import annotations

import importlib
import types

import click
import pytest

import imgcodec
from imgcodec.cli import errors
from imgcodec.cli.main import COMMANDS, cli
from imgcodec.codec.errors import (
    CodecError,
    CorruptStreamError,
    ImageFormatError,
    OptionError,
    RefusedPictureError,
    TruncatedStreamError,
    UnknownModelError,
    UnsupportedVersionError,
)
from imgcodec.codec.strict import RecipeError


def test_help_lists_every_command(invoke):
    result = invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


def _leaves(command, path=()):
    """Yield the argument list of every subcommand that is not a group."""
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            yield from _leaves(command.get_command(ctx, name), (*path, name))
    else:
        yield path


@pytest.mark.parametrize("path", list(_leaves(cli)), ids=" ".join)
def test_every_command_has_help_and_the_common_options(invoke, path):
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert {"--quiet", "--verbose", "--json"} <= set(result.stdout.replace(",", " ").split())


def test_version_is_the_package_version(invoke):
    assert imgcodec.__version__ in invoke("--version").stdout


@pytest.mark.parametrize("args", [["nosuch"], ["encode"], ["encode", "--nosuch"]])
def test_wrong_usage_exits_2(invoke, args):
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CodecError("x"), 1),
        (OSError("x"), 1),
        (RecipeError("x"), 2),
        (CorruptStreamError("x"), 3),
        (TruncatedStreamError("x"), 3),
        (ImageFormatError("x"), 3),
        (RefusedPictureError("x"), 2),
        (OptionError("x"), 2),
        (UnknownModelError("x"), 4),
        (UnsupportedVersionError("x"), 4),
        (ValueError("x"), None),
    ],
)
def test_errors_map_to_exit_codes(error, code):
    assert errors.exit_code_of(error) == code


@pytest.fixture
def failing_command(monkeypatch):
    """Make `imgcodec models` raise the error it is given."""
    raised = []

    @click.command("models")
    @importlib.import_module("imgcodec.cli.console").console_options
    def command(console):
        raise raised[0]

    module = types.SimpleNamespace(command=command)
    monkeypatch.setattr("imgcodec.cli.main.import_module", lambda name: module)
    return raised


def test_expected_error_is_one_line_on_stderr(invoke, failing_command):
    failing_command.append(CorruptStreamError("chunk 3: wrong CRC"))
    result = invoke("models")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == "Error: chunk 3: wrong CRC\n"


def test_verbose_shows_the_traceback(invoke, failing_command):
    failing_command.append(UnknownModelError("no such model"))
    result = invoke("models", "-v")
    assert result.exit_code == 4
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("Error: no such model\n")


def test_unexpected_error_is_not_hidden(invoke, failing_command):
    failing_command.append(ZeroDivisionError("bug"))
    result = invoke("models")
    assert isinstance(result.exception, ZeroDivisionError)


def test_verbose_and_quiet_exclude_each_other(invoke):
    assert invoke("models", "-v", "--quiet").exit_code == 2


def test_group_offers_exactly_the_listed_commands():
    ctx = click.Context(cli)
    assert cli.list_commands(ctx) == list(COMMANDS)
    assert all(cli.get_command(ctx, name).name == name for name in COMMANDS)
    assert cli.get_command(ctx, "nosuch") is None
