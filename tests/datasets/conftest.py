"""A local HTTP server with the manners and mishaps of real ones."""

from __future__ import annotations

import dataclasses
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@dataclasses.dataclass
class Server:
    """Serves `files`; see the fixture `server`.

    Attributes:
        url: address of the root.
        files: path below the root to content.
        break_after: bytes after which each of the next responses breaks off, one entry each.
        errors: status codes for the next responses.
        has_ranges: whether Range is understood.
        tag: value of ETag, which If-Range is compared with.
        requests: (path, value of Range or "") of everything asked for.
    """

    url: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    break_after: list[int] = dataclasses.field(default_factory=list)
    errors: list[int] = dataclasses.field(default_factory=list)
    has_ranges: bool = True
    tag: str = '"one"'
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port of localhost."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range", "")
            state.requests.append((path, wanted))
            if state.errors:
                self.send_error(state.errors.pop(0))
                return
            if path not in state.files:
                self.send_error(404)
                return
            content = state.files[path]
            start = 0
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            same = self.headers.get("If-Range", state.tag) == state.tag
            if match and state.has_ranges and same:
                start = int(match[1])
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("ETag", state.tag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content)
            if state.break_after:
                end = min(end, start + state.break_after.pop(0))
            self.wfile.write(content[start:end])

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    # It looks for the end every 10 ms, instead of every half a second.
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of IMGCODEC_DATA; tests that need real pictures are skipped without it."""
    named = os.environ.get("IMGCODEC_DATA")
    if not named:
        pytest.skip("IMGCODEC_DATA is not set")
    return Path(named)
