"""Manifests: what a dataset consists of, where it comes from, under which terms."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from imgcodec.codec.errors import CodecError

DATA_VARIABLE = "IMGCODEC_DATA"


class DatasetError(CodecError):
    """A dataset is unknown, missing, incomplete, damaged, or cannot be fetched."""


@dataclasses.dataclass(frozen=True)
class ManifestFile:
    """One file of a dataset.

    Attributes:
        name: file name inside the folder of the dataset.
        url: where the file can be had on its own, or empty.
        width, height: size in pixels, where it is an image of known size.
        bytes: size of the file, where known.
        sha256: hash of the file, where known.
        pixels_sha256: hash of the RGB bytes, row by row; the same for every lossless encoding.
    """

    name: str
    url: str = ""
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    pixels_sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class ManifestArchive:
    """A ZIP file that holds images of a dataset.

    Attributes:
        url: where it can be had.
        members: pattern that the names of the wanted members match.
        bytes, sha256: of the archive, where known.
    """

    url: str
    members: str
    bytes: int | None = None
    sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A dataset: its files or the archives they come in, origin and terms.

    Attributes:
        name: what `--dataset` takes.
        title: what it is, in words.
        folder: its folder below the data root.
        kind: `images` (a folder of image files) or `mnist` (IDX files).
        num_images: number of images when complete.
        homepage, licence: origin and terms.
        note: what a reader of scores must know.
        archives: ZIP files to fetch.
        files: the files where they are known; else every PNG of the archives belongs to it.
    """

    name: str
    title: str
    folder: str
    kind: Literal["images", "mnist"]
    num_images: int
    homepage: str
    licence: str
    note: str
    archives: tuple[ManifestArchive, ...]
    files: tuple[ManifestFile, ...]

    @property
    def download_bytes(self) -> int | None:
        """Return the bytes to download, None where a part is not known."""
        parts = self.archives or self.files
        sizes = [part.bytes for part in parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Manifest:
        """Return the manifest of a parsed JSON document.

        Raises:
            TypeError: a key is missing or unknown.
        """
        values = dict(document)
        values["archives"] = tuple(ManifestArchive(**entry) for entry in values["archives"])
        values["files"] = tuple(ManifestFile(**entry) for entry in values["files"])
        return cls(**values)


def manifest_names() -> list[str]:
    """Return the names of all datasets that have a manifest."""
    folder = files("imgcodec.datasets") / "manifests"
    return sorted(
        entry.name.removesuffix(".json")
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    )


def load_manifest(name: str) -> Manifest:
    """Return the manifest of a dataset.

    Raises:
        DatasetError: unknown name.
    """
    names = manifest_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise DatasetError(f"unknown dataset {name!r}: {hint}known are {', '.join(names)}")
    text = (files("imgcodec.datasets") / "manifests" / f"{name}.json").read_text("utf-8")
    return Manifest.from_json(json.loads(text))


def data_root(path: Path | None = None) -> Path:
    """Return the folder that holds the datasets.

    It is the path given (`--data-root`), else that of the environment variable `IMGCODEC_DATA`,
    else `imgcodec/data` in the user's cache folder.
    """
    if path is not None:
        return path
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "imgcodec" / "data"
