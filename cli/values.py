"""Types of options whose values have names: completed in a shell, checked before torch loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from imgcodec.codec.stream.kinds import METADATA as KINDS_OF_METADATA

DIGITS = tuple(map(str, range(10)))
METADATA_SUGGESTIONS = ("all", "none", *KINDS_OF_METADATA)


class CropType(click.ParamType):
    """A rectangle: x,y,w,h."""

    name = "crop"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return x, y, width and height."""
        match = re.fullmatch(r"(\d+),(\d+),([1-9]\d*),([1-9]\d*)", str(value))
        if match is None:
            self.fail(f"{value!r} is not X,Y,W,H such as 0,0,512,512", param, ctx)
        return tuple(map(int, match.groups()))


class NameType(click.ParamType):
    """A text with known values; others are allowed unless `check` raises.

    Args:
        name: what it is, for usage lines.
        known: returns the values to suggest; called when they are needed.
        check: raises `CodecError` on a value that cannot be.
        is_list: several, with commas between them.
        has_files: a path may stand in its place.
    """

    def __init__(
        self,
        name: str,
        known: Callable[[click.Context], Iterable[str]],
        *,
        check: Callable[[str], object] = lambda value: None,
        is_list: bool = False,
        has_files: bool = False,
    ) -> None:
        self.name = name
        self._known, self._check = known, check
        self._is_list, self._has_files = is_list, has_files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value as it is."""
        self._check(value)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the known values that begin so and, where files may be, that files fit too."""
        before, comma, start = incomplete.rpartition(",") if self._is_list else ("", "", incomplete)
        given = before.split(",")
        found = [
            CompletionItem(f"{before}{comma}{name}")
            for name in self._known(ctx)
            if name.startswith(start) and name not in given
        ]
        if self._has_files and (not found or not start):
            found.append(CompletionItem(incomplete, type="file"))
        return found


def _models(ctx: click.Context) -> list[str]:
    from imgcodec.codec.weights.installed import list_models

    models = list_models()
    return [*dict.fromkeys(model.family for model in models), *(model.id for model in models)]


def _check_model(name: str) -> None:
    from imgcodec.codec.weights.installed import find_model

    find_model(name)


def _decoders(ctx: click.Context) -> list[str]:
    from imgcodec.codec.weights.installed import list_models

    return list(dict.fromkeys(name for model in list_models() for name in model.decoders))


def _datasets(ctx: click.Context) -> list[str]:
    from imgcodec.datasets.manifest import manifest_names

    return manifest_names()


def _codecs(ctx: click.Context) -> list[str]:
    from imgcodec.eval.anchors.registry import codec_names

    return codec_names()


def _check_codec(name: str) -> None:
    from imgcodec.eval.anchors.registry import check_codec_name

    check_codec_name(name)


def _check_codecs(text: str) -> None:
    from imgcodec.eval.anchors.registry import split_names

    for name in split_names(text):
        if name != "help":
            _check_codec(name)


def _check_metadata(text: str) -> None:
    from imgcodec.codec.stream.container import parse_metadata_names

    parse_metadata_names(text)


def _labels(ctx: click.Context) -> list[str]:
    """Return the labels of `sample --attribute`: digits, or the subfolders of --data."""
    data = ctx.params.get("data")
    if data is None or not Path(data).is_dir() or (Path(data) / "mnist.npz").is_file():
        return list(DIGITS)
    return sorted(folder.name for folder in Path(data).iterdir() if folder.is_dir())


MODEL = NameType("model", _models, check=_check_model, has_files=True)
DECODER = NameType("decoder", _decoders)
DATASET = NameType("dataset", _datasets, has_files=True)
DATASET_NAME = NameType("dataset", _datasets)
CODEC = NameType("codec", _codecs, check=_check_codec)
CODECS = NameType("codecs", _codecs, check=_check_codecs, is_list=True)
METADATA = NameType(
    "metadata", lambda ctx: METADATA_SUGGESTIONS, check=_check_metadata, is_list=True
)
LABEL = NameType("label", _labels)
