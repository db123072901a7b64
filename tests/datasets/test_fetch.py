"""Datasets from a mirror with the official layout, and their verification."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.datasets.download import ChecksumError
from imgcodec.datasets.fetch import fetch, verify
from imgcodec.datasets.images import open_dataset
from imgcodec.datasets.manifest import (
    DatasetError,
    Manifest,
    ManifestArchive,
    ManifestFile,
    load_manifest,
    manifest_names,
)


def png(seed: int, level: int = 6) -> tuple[bytes, str]:
    """A small PNG file and the hash of its pixels."""
    rgb = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue(), hashlib.sha256(rgb.tobytes()).hexdigest()


def manifest_of(**values: object) -> Manifest:
    return Manifest(
        **{
            "name": "tiny",
            "title": "Tiny",
            "folder": "tiny",
            "kind": "images",
            "num_images": 2,
            "homepage": "https://example.org",
            "licence": "CC0",
            "note": "",
            "archives": (),
            "files": (),
            **values,
        }
    )


@pytest.fixture
def by_file(server) -> Manifest:
    """Two single files, known by their pixels."""
    files = []
    for index in range(2):
        data, pixels = png(index)
        server.files[f"tiny/{index}.png"] = data
        url = f"https://example.org/data/{index}.png"
        files.append(ManifestFile(f"{index}.png", url, pixels_sha256=pixels))
    return manifest_of(files=tuple(files))


@pytest.fixture
def by_archive(server) -> Manifest:
    """Two files in an archive of known hash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(2):
            archive.writestr(f"valid/{index}.png", png(index)[0])
    data = buffer.getvalue()
    server.files["tiny/tiny.zip"] = data
    entry = ManifestArchive(
        "https://example.org/tiny.zip?x=1", "*.png", len(data), hashlib.sha256(data).hexdigest()
    )
    return manifest_of(archives=(entry,))


def test_single_files_are_fetched_once(server, by_file: Manifest, tmp_path: Path) -> None:
    assert fetch(by_file, tmp_path, mirror=server.url) == 2
    assert [entry.status for entry in verify(by_file, tmp_path)] == ["ok", "ok"]
    server.requests.clear()
    assert fetch(by_file, tmp_path, mirror=server.url) == 0
    assert server.requests == []
    (tmp_path / "tiny" / "1.png").unlink()
    assert fetch(by_file, tmp_path, mirror=server.url + "/") == 1
    assert [path for path, _ in server.requests] == ["tiny/1.png"]


def test_archive_is_fetched_unpacked_and_removed(
    server, by_archive: Manifest, tmp_path: Path
) -> None:
    assert fetch(by_archive, tmp_path, mirror=server.url) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]
    assert [entry.status for entry in verify(by_archive, tmp_path)] == ["unknown", "unknown"]


def test_broken_archive_download_continues(server, by_archive: Manifest, tmp_path: Path) -> None:
    server.break_after = [50, 0]
    with pytest.raises(DatasetError, match="50 bytes are kept"):
        fetch(by_archive, tmp_path, mirror=server.url, attempts=2, pause_s=0.0)
    assert not (tmp_path / "tiny").exists()
    fetch(by_archive, tmp_path, mirror=server.url)
    assert server.requests[-1] == ("tiny/tiny.zip", "bytes=50-")


def test_archive_of_other_content_is_refused(server, by_archive: Manifest, tmp_path: Path) -> None:
    server.files["tiny/tiny.zip"] += b"x"
    with pytest.raises(ChecksumError):
        fetch(by_archive, tmp_path, mirror=server.url)
    assert not (tmp_path / "tiny").exists()


def test_file_of_other_pixels_is_refused(server, by_file: Manifest, tmp_path: Path) -> None:
    server.files["tiny/1.png"] = png(7)[0]
    with pytest.raises(ChecksumError, match=r"1\.png: expected pixels"):
        fetch(by_file, tmp_path, mirror=server.url)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["0.png"]
    server.files["tiny/1.png"] = b"no picture"
    with pytest.raises(ChecksumError, match="no readable image"):
        fetch(by_file, tmp_path, mirror=server.url)


def test_incomplete_archive_is_told(server, by_archive: Manifest, tmp_path: Path) -> None:
    more = dataclasses.replace(by_archive, num_images=3)
    with pytest.raises(DatasetError, match=r"2 files in .*, expected 3"):
        fetch(more, tmp_path, mirror=server.url)


def test_verify_tells_missing_changed_and_other_encodings(by_file, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(0, level=0)[0])
    assert [entry.status for entry in verify(by_file, tmp_path)] == ["ok", "missing"]
    (folder / "1.png").write_bytes(png(0)[0])
    assert verify(by_file, tmp_path)[1].detail == "other pixels"
    (folder / "1.png").write_bytes(b"")
    assert verify(by_file, tmp_path)[1].status == "changed"
    counted = manifest_of(num_images=5)
    entries = verify(counted, tmp_path)
    assert [entry.status for entry in entries] == ["unknown", "unknown", "missing"]


def test_shipped_manifests_are_sound() -> None:
    names = manifest_names()
    assert {"kodak", "clic2020", "clic2025", "div2k-valid", "div2k-train", "mnist"} <= set(names)
    for name in names:
        manifest = load_manifest(name)
        assert manifest.name == name
        assert manifest.licence
        assert manifest.homepage.startswith("http")
        assert manifest.archives or all(file.url for file in manifest.files)
        if manifest.kind == "images" and manifest.files:
            assert len(manifest.files) == manifest.num_images
        for entry in (*manifest.files, *manifest.archives):
            assert entry.sha256 is None or len(entry.sha256) == 64
    assert load_manifest("kodak").num_images == 24
    assert load_manifest("div2k-valid").download_bytes == 448993893


@pytest.mark.parametrize("name", ["kodak", "clic2025-sample"])
def test_local_data_agree_with_their_manifest(name: str, data_dir: Path) -> None:
    entries = verify(load_manifest(name), data_dir)
    assert {entry.status for entry in entries} == {"ok"}
    assert len(open_dataset(name, data_dir).image_names) == len(entries)
