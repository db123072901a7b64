"""``imgcodec completion``: the script that completes commands, options and files in a shell."""

from __future__ import annotations

import click

from imgcodec.cli.console import Console, console_options

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  imgcodec completion bash >> ~/.bashrc
  imgcodec completion zsh >> ~/.zshrc
  imgcodec completion fish > ~/.config/fish/completions/imgcodec.fish"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
@console_options
def command(shell: str, console: Console) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    completion = completion_class(root.command, {}, "imgcodec", "_IMGCODEC_COMPLETE")
    # Not `source()`: that of bash runs bash to check its version.
    script = completion.source_template % completion.source_vars()
    if console.is_json:
        console.record({"shell": shell, "script": script})
    else:
        click.echo(script)
