"""Serves the page, the weights and some files to this machine alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from imgcodec.codec.weights.installed import WEIGHTS_DIR, list_models
from imgcodec.web import DIST

HOST = "127.0.0.1"
_WEIGHTS = "/weights/"
_DECODERS = _WEIGHTS + "decoders.json"
_FILES = "/files/"
_SERVED = {".safetensors", ".json", ".onnx"}
HEADERS = {
    # Both let the page compute on several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


class Server(ThreadingHTTPServer):
    """Serves the page, the weights, and some files.

    Attributes:
        paths: of the files, as addresses below that of the server.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path], port: int) -> None:
        self.files = files
        super().__init__((HOST, port), _Handler)

    @property
    def paths(self) -> list[str]:
        """Addresses of the files below that of the server."""
        return [quote(path) for path in self.files]


def make_server(files: list[Path], port: int = 0) -> Server:
    """Return a server of the page with files, on the loopback address.

    Raises:
        OSError: the port is taken.
    """
    named = {f"{_FILES}{number}/{path.name}": path for number, path in enumerate(files)}
    return Server(named, port)


class _Handler(SimpleHTTPRequestHandler):
    """Answers what the page asks for, and nothing else of this machine."""

    server: Server
    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(DIST))

    def do_GET(self) -> None:
        """Answer which further decoders the models have, or with a file."""
        if urlsplit(self.path).path == _DECODERS:
            decoders = {model.id: model.decoders[1:] for model in list_models()}
            self._answer(json.dumps(decoders).encode())
        else:
            super().do_GET()

    def _answer(self, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        """Return the file of an address; one that does not exist for all others."""
        asked = unquote(urlsplit(path).path)
        if asked.startswith(_FILES):
            return str(self.server.files.get(asked, DIST / "none"))
        if asked.startswith(_WEIGHTS):
            file = (WEIGHTS_DIR / asked.removeprefix(_WEIGHTS)).resolve()
            is_ours = file.is_relative_to(WEIGHTS_DIR) and file.suffix in _SERVED
            return str(file if is_ours else DIST / "none")
        return super().translate_path(path)

    def end_headers(self) -> None:
        """Add what browsers need to compute on several threads."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def parse_request(self) -> bool:
        """Refuse requests for other hosts: a page elsewhere must not reach us by a name of its."""
        if not super().parse_request():
            return False
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return False
        return True

    def list_directory(self, path: Any) -> None:
        """Show no folders."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
