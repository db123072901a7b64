"""The ``imgcodec`` command group: finds a subcommand by name, maps errors to exit codes."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from imgcodec import __version__
from imgcodec.cli.errors import exit_codes

# In the order of `imgcodec --help`. Each is a module of this package with a `command`.
COMMANDS = (
    "encode",
    "decode",
    "inspect",
    "preview",
    "view",
    "models",
    "codebook",
    "demo",
    "compare",
    "match",
    "levels",
    "bench",
    "datasets",
    "train",
    "export",
    "sample",
    "doctor",
    "completion",
)


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a subcommand; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"imgcodec.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; errors of the codec become messages with an exit code."""
        with exit_codes(ctx):
            return super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 corrupt or unreadable input, "
    "4 unknown model or version.",
)
@click.version_option(__version__, prog_name="imgcodec")
def cli() -> None:
    """Learned image compression: pictures to small .cvb files and back.

    \b
    imgcodec encode photo.png photo.cvb -q 60
    imgcodec decode photo.cvb back.png
    """


def main() -> None:
    """Entry point of the console script and of ``python -m imgcodec``."""
    # NumPy's matrix products are small here, and its threads spin while they wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cli(prog_name="imgcodec")
