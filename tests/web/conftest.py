"""Fixtures: the page of `imgcodec view`, served to a headless Chromium."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgcodec.web import DIST
from imgcodec.web.serve import HOST, Server, make_server
from tests.eval.conftest import browser, narrow  # noqa: F401

WAIT_S = 120

DECODE = """
const [texts, options, done] = arguments;
window.ask ??= (() => {
  const worker = new Worker("/worker.js", { type: "module" });
  const waiting = new Map();
  worker.onmessage = ({ data }) => data.progress === undefined && waiting.get(data.id)(data);
  const send = (message) => new Promise((resolve) => {
    waiting.set(waiting.size, resolve);
    worker.postMessage({ ...message, id: waiting.size - 1 });
  });
  const { origin } = location;
  send({ kind: "open", weights: `${origin}/weights/`, runtime: `${origin}/`, threads: 2 });
  return send;
})();
const toText = (blob) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(blob);
});
(async () => {
  const answers = [];
  for (const text of texts) {
    const data = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const { result, error, name } = await window.ask({ kind: "decode", data, options });
    answers.push(result ? { png: await toText(result.png), info: result.info } : { error, name });
  }
  done(answers);
})();
"""


@pytest.fixture(scope="session")
def built() -> None:
    """Skip where the page is not built."""
    if not (DIST / "index.html").is_file():
        pytest.skip("the page is not built: `make web` (needs npm)")


@pytest.fixture
def serve(built: None) -> Iterator[Callable[..., Server]]:
    """Return a function that serves files on the page."""
    servers: list[Server] = []

    def start(*files: Path) -> Server:
        server = make_server(list(files))
        servers.append(server)
        # It looks for the end every 10 ms, instead of every half a second.
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def empty(built: None) -> Iterator[Server]:
    """A server of the empty page."""
    with make_server([]) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def decoder(empty: Server, browser: Any) -> Any:  # noqa: F811
    """The page with a worker to ask by `DECODE`, which keeps its runtime and weights."""
    browser.set_script_timeout(WAIT_S)
    if browser.current_url != address(empty):
        browser.get(address(empty))
    return browser


def address(server: Server) -> str:
    """Return where a server is."""
    return f"http://{HOST}:{server.server_address[1]}/"


def pixels_of(png: bytes) -> np.ndarray:
    """Return the samples of a PNG file as signed integers."""
    return np.asarray(Image.open(BytesIO(png))).astype(int)
