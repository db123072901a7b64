"""Which input an output was made of: a line for each, in a hidden file beside the outputs.

A name says little: pictures of two folders share it, and pictures change. `--skip-existing` skips
an output only if it was made of the very bytes of its input.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from imgcodec.codec.files import file_sha256

LOG_NAME = ".imgcodec-sources.jsonl"


def remember_source(source: Path, target: Path) -> None:
    """Note that a complete output was made of an input.

    Raises:
        OSError: one cannot be read, or the folder of the output not be written to.
    """
    line = {
        "output": target.name,
        "output_bytes": target.stat().st_size,
        "input_sha256": file_sha256(source),
    }
    with (target.parent / LOG_NAME).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def is_made_of(target: Path, source: Path) -> bool:
    """Return whether an output is as it was made of an input with these bytes."""
    with suppress(OSError):
        noted = _read_log(target.parent).get(target.name)
        return (
            noted is not None
            and noted.get("output_bytes") == target.stat().st_size
            and noted.get("input_sha256") == file_sha256(source)
        )
    return False


def _read_log(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the last line of each output; lines that are damaged count as missing."""
    noted = {}
    text = (folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            noted[entry["output"]] = entry
    return noted
