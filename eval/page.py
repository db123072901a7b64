"""Fill an HTML template with style, scripts and data: one file that opens from disk."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from imgcodec.codec.files import write_atomically


def write_page(
    template: str, scripts: Sequence[str], title: str, data: Mapping[str, Any], path: str | Path
) -> Path:
    """Fill a template with style, scripts and data, and write it atomically.

    Args:
        template: file in `eval/templates`; `{{title}}`, `{{style}}`, `{{script}}` and `{{data}}`
            are replaced.
        scripts: files in `eval/templates`, put inline in this order.
        title: page title, escaped here.
        data: JSON values for the script.
        path: HTML file to write.
    """
    folder = files("imgcodec.eval") / "templates"
    # "</" would end the script element; "<\/" is the same JSON string.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    parts = {
        "title": html.escape(title),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((folder / name).read_text(encoding="utf-8") for name in scripts),
        "data": text,
    }
    page = (folder / template).read_text(encoding="utf-8")
    head, *rest = page.split("{{")
    pieces = [head]
    for piece in rest:
        key, _, tail = piece.partition("}}")
        pieces += [parts[key], tail]
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, "".join(pieces).encode())
    return target
