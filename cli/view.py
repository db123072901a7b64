"""``imgcodec view``: .cvb files in a browser."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.errors import Failure
from imgcodec.web import DIST

EXAMPLES = """\b
Examples:
  imgcodec view photo.cvb             the page, with the file in it; ends with Ctrl-C
  imgcodec view                       the page alone: drop files onto it
  imgcodec view photo.cvb --no-open   say where it is, and open nothing"""


@click.command("view", epilog=EXAMPLES)
@click.argument(
    "files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False)
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="[default: any free one]")
@click.option("--open/--no-open", "is_opened", default=True, help="Open a browser.")
@console_options
def command(files: tuple[str, ...], port: int, is_opened: bool, console: Console) -> None:
    """Show .cvb files in a browser: levels, zoom, a slider against an original dropped beside it.

    The page is served on this machine alone, and decodes the files itself.
    """
    if not (DIST / "index.html").is_file():
        raise Failure("the page is not built here: `make web` builds it (it needs npm)")
    import webbrowser
    from urllib.parse import quote

    from imgcodec.web.serve import HOST, make_server  # heavy for all who only ask for help

    try:
        server = make_server([Path(name) for name in files], port)
    except OSError as error:
        raise Failure(f"cannot serve on port {port}: {error.strerror}") from error
    with server:
        address = f"http://{HOST}:{server.server_address[1]}/"
        pages = [f"{address}?file={quote(path, safe='')}" for path in server.paths] or [address]
        for page in pages:
            click.echo(page)
            if is_opened and not webbrowser.open(page):
                console.note("no browser opens here: this is where the page is")
        console.note("Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
