"""``imgcodec view`` serves the page, the weights and the named files, and nothing else."""

from __future__ import annotations

import http.client
import json
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from imgcodec.cli import view
from imgcodec.cli.main import cli
from imgcodec.codec.options import TUNES
from imgcodec.codec.weights.installed import IDS_FILE, WEIGHTS_DIR
from imgcodec.web import serve


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that is built."""
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("<title>imgcodec view</title>")
    (folder / "page.js").write_text("0")
    monkeypatch.setattr(view, "DIST", folder)
    monkeypatch.setattr(serve, "DIST", folder)
    return folder


@pytest.fixture
def served(page: Path, tmp_path: Path) -> Iterator[tuple[serve.Server, Path]]:
    """A server with a file of an odd name."""
    file = tmp_path / "a picture #1 ä.cvb"
    file.write_bytes(b"CVB and more")
    (tmp_path / "secret.json").write_text("{}")
    with serve.make_server([file]) as server:
        # It looks for the end every 10 ms, instead of every half a second.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server, file
        server.shutdown()
        thread.join()


def ask(
    server: serve.Server, path: str, host: str | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    port = server.server_address[1]
    connection = http.client.HTTPConnection(serve.HOST, port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"{serve.HOST}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_page_files_and_weights_are_served(served):
    server, file = served
    assert server.server_address[0] == "127.0.0.1"
    status, body, headers = ask(server, "/")
    assert (status, b"imgcodec view" in body) == (200, True)
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    (path,) = server.paths
    assert ask(server, path)[:2] == (200, file.read_bytes())
    assert ask(server, "/weights/ids.json")[:2] == (200, IDS_FILE.read_bytes())
    assert json.loads(ask(server, "/weights/decoders.json")[1])[TUNES["eye"]] == ["natural"]
    script = ask(server, "/page.js?file=x")
    assert (script[0], script[2]["Content-Type"]) == (200, "text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "/files/0/other.cvb",
        "/files/1/x.cvb",
        "/files/",
        "/files/../../secret.json",
        "/../secret.json",
        "/weights/",
        "/weights/../api.py",
        "/weights/store.py",
        "/weights/%2e%2e/%2e%2e/setup.cfg",
        "/weights//etc/hostname",
        "/none.html",
    ],
)
def test_nothing_else_is_served(served, path):
    assert ask(served[0], path)[0] == 404
    assert (WEIGHTS_DIR / "store.py").is_file()  # there, and not served


def test_other_hosts_are_refused(served):
    assert ask(served[0], "/", host="evil.example:80")[0] == 403
    assert ask(served[0], "/", host="localhost:80")[0] == 200


def test_without_the_page_it_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(view, "DIST", tmp_path)
    result = CliRunner().invoke(cli, ["view"])
    assert result.exit_code == 1
    assert "make web" in result.output


def test_without_a_browser_it_says_where_the_page_is(page, tmp_path, monkeypatch):
    file = tmp_path / "x.cvb"
    file.write_bytes(b"CVB")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)))
    monkeypatch.setattr(serve.Server, "serve_forever", lambda self: None)
    result = CliRunner().invoke(cli, ["view", str(file)])
    assert result.exit_code == 0, result.output
    assert opened and opened[0] in result.output
    assert opened[0].endswith("/?file=%2Ffiles%2F0%2Fx.cvb")
    assert "no browser opens here" in result.output


def test_a_taken_port_is_one_line(page, served):
    port = served[0].server_address[1]
    result = CliRunner().invoke(cli, ["view", "--no-open", "--port", str(port)])
    assert result.exit_code == 1
    assert f"cannot serve on port {port}" in result.output
