"""Downloads from a local server: resume, wrong checksum, broken connection, no server."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from imgcodec.codec.files import file_sha256
from imgcodec.datasets.download import ChecksumError, download, unpack
from imgcodec.datasets.manifest import DatasetError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(server, target: Path, **options: object) -> Path:
    return download(f"{server.url}/f.bin", target, **{"pause_s": 0.0, **options})


@pytest.fixture(autouse=True)
def served(server) -> None:
    server.files["f.bin"] = CONTENT


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_whole_file_with_progress(server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = fetch(
        server,
        tmp_path / "new" / "f.bin",
        sha256=SHA256,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert leftovers(target) == []


def test_broken_connections_are_continued_where_they_broke(server, tmp_path: Path) -> None:
    server.break_after = [300_000, 1, 200_000]
    target = fetch(server, tmp_path / "f.bin", sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [
        "",
        "bytes=300000-",
        "bytes=300001-",
        "bytes=500001-",
    ]


def test_unfinished_download_is_kept_and_continued_later(server, tmp_path: Path) -> None:
    server.break_after = [100_000, 0, 0]
    target = tmp_path / "f.bin"
    with pytest.raises(DatasetError, match="100000 bytes are kept"):
        fetch(server, target, attempts=3)
    assert not target.exists()
    assert leftovers(target) == ["f.bin.part", "f.bin.part.etag"]
    server.requests.clear()
    fetch(server, target, sha256=SHA256)
    assert server.requests == [("f.bin", "bytes=100000-")]
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == []


def test_a_file_that_changed_meanwhile_comes_whole(server, tmp_path: Path) -> None:
    server.break_after = [100_000, 0]
    with pytest.raises(DatasetError):
        fetch(server, tmp_path / "f.bin", attempts=2)
    other = CONTENT[::-1]
    server.files["f.bin"], server.tag = other, '"two"'
    assert fetch(server, tmp_path / "f.bin").read_bytes() == other


def test_server_without_ranges_starts_again(server, tmp_path: Path) -> None:
    server.has_ranges = False
    server.break_after = [100_000]
    assert fetch(server, tmp_path / "f.bin", sha256=SHA256).read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server, tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    with pytest.raises(ChecksumError, match=r"wrong checksum.*expected SHA-256 00.*thrown away"):
        fetch(server, target, sha256="00" * 32)
    assert list(tmp_path.iterdir()) == []


def test_damaged_part_is_replaced_by_a_fresh_download(server, tmp_path: Path) -> None:
    (tmp_path / "f.bin.part").write_bytes(b"x" * 1000)
    assert fetch(server, tmp_path / "f.bin", sha256=SHA256).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", ""]


def test_part_longer_than_the_file_is_replaced(server, tmp_path: Path) -> None:
    (tmp_path / "f.bin.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert fetch(server, tmp_path / "f.bin", sha256=SHA256).read_bytes() == CONTENT


def test_server_errors_are_tried_again_refusals_are_not(server, tmp_path: Path) -> None:
    server.errors = [503, 500]
    fetch(server, tmp_path / "f.bin", sha256=SHA256)
    assert len(server.requests) == 3
    server.requests.clear()
    server.errors = [403]
    with pytest.raises(DatasetError, match="answers 403 Forbidden"):
        fetch(server, tmp_path / "g.bin")
    assert len(server.requests) == 1


def test_no_server_is_a_clear_error(server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot fetch http://127.0.0.1:1/x.*refused"):
        download("http://127.0.0.1:1/x", tmp_path / "x", attempts=2, pause_s=0.0)


def test_unwritable_place_is_a_clear_error(server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DatasetError, match="cannot write"):
        fetch(server, tmp_path / "file" / "f.bin")


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    assert file_sha256(tmp_path / "f") == SHA256


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unpack_takes_the_matching_files_flat(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip",
        {
            "valid/a.png": b"A",
            "../../b.png": b"B",
            "__MACOSX/valid/._a.png": b"-",
            "readme.txt": b"-",
        },
    )
    paths = unpack(archive, tmp_path / "out", "*.png")
    assert [path.name for path in paths] == ["a.png", "b.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.png": b"A" * 1000, "b.png": b"B" * 1000})
    damaged = bytearray(archive.read_bytes())
    damaged[damaged.index(b"BBBB") + 7] ^= 1
    archive.write_bytes(damaged)
    with pytest.raises(DatasetError, match="is damaged"):
        unpack(archive, tmp_path / "out", "*.png")
    archive.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="is damaged"):
        unpack(archive, tmp_path / "out", "*.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_archive_without_images_or_with_twins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no \*\.png"):
        unpack(make_zip(tmp_path / "a.zip", {"a.txt": b""}), tmp_path / "out", "*.png")
    twins = make_zip(tmp_path / "b.zip", {"x/a.png": b"1", "y/a.png": b"2"})
    with pytest.raises(DatasetError, match="twice"):
        unpack(twins, tmp_path / "out", "*.png")
