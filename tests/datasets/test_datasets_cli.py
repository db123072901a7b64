"""`imgcodec datasets`: list, fetch, verify, and what is told without network or data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from imgcodec.cli.main import cli
from imgcodec.datasets.manifest import load_manifest


def datasets(*args: object) -> Result:
    return CliRunner().invoke(cli, ["datasets", *map(str, args)])


def test_list_tells_what_is_here(tmp_path: Path) -> None:
    result = datasets("list", "--data-root", tmp_path)
    assert result.exit_code == 0
    kodak = next(line for line in result.stdout.splitlines() if line.startswith("kodak"))
    assert kodak.split()[1:3] == ["no", "24"]
    records = json.loads(datasets("list", "--data-root", tmp_path, "--json").stdout)
    assert {record["name"] for record in records} >= {"kodak", "clic2020", "div2k-valid"}
    assert all(record["licence"] for record in records)
    assert all(record["disk_bytes"] == 0 for record in records)
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / "kodim01.png").write_bytes(bytes(1_200_000))
    result = datasets("list", "--data-root", tmp_path)
    kodak = next(line for line in result.stdout.splitlines() if line.startswith("kodak"))
    assert kodak.split()[1:4] == ["no", "24", "1.2"]


def test_verify_without_names_verifies_all_that_is_there(tmp_path: Path) -> None:
    result = datasets("verify", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert f"no dataset is in {tmp_path}" in result.stderr
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"digits")
    result = datasets("verify", "--data-root", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.split("\n")[:2] == ["mnist: 1 unknown", "mnist-train: 1 unknown"]
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / "kodim01.png").write_bytes(b"no picture")
    result = datasets("verify", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert "kodak: 23 missing, 1 changed" in result.stdout
    assert "imgcodec datasets fetch kodak\n" in result.stderr
    names = json.loads(datasets("verify", "--data-root", tmp_path, "--json").stdout)
    assert list(names) == ["kodak", "mnist", "mnist-train"]


def test_a_part_of_a_dataset_does_not_make_the_whole_incomplete(data_dir: Path) -> None:
    result = datasets("verify", "--data-root", data_dir)
    if "clic2025-sample: " in result.stdout:
        assert "clic2025: " not in result.stdout


def test_fetch_without_network_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = datasets(
        *("fetch", "kodak", "--data-root", tmp_path, "--attempts", 1),
        *("--mirror", "http://127.0.0.1:1"),
    )
    assert result.exit_code == 1
    assert "cannot fetch http://127.0.0.1:1/kodak/kodim01.png" in result.stderr
    assert "Traceback" not in result.output


def test_fetch_from_a_mirror_refuses_other_pictures(server, tmp_path: Path) -> None:
    Image.new("RGB", (768, 512)).save(tmp_path / "x.png")
    server.files["kodak/kodim01.png"] = (tmp_path / "x.png").read_bytes()
    result = datasets("fetch", "kodak", "--data-root", tmp_path / "d", "--mirror", server.url)
    assert result.exit_code == 1
    assert "kodim01.png: expected pixels" in result.stderr


def test_fetch_and_verify_kodak_from_a_mirror(server, data_dir: Path, tmp_path: Path) -> None:
    for file in load_manifest("kodak").files:
        server.files[f"kodak/{file.name}"] = (data_dir / "kodak" / file.name).read_bytes()
    server.break_after = [1000]
    result = datasets("fetch", "kodak", "--data-root", tmp_path, "--mirror", server.url)
    assert result.exit_code == 0, result.output
    assert "kodak: 24 files added" in result.stderr
    assert server.requests[1] == ("kodak/kodim01.png", "bytes=1000-")
    assert "already there" in datasets("fetch", "kodak", "--data-root", tmp_path).stderr
    assert "kodak: 24 ok" in datasets("verify", "kodak", "--data-root", tmp_path).stdout


def test_verify_fails_on_missing_files(tmp_path: Path) -> None:
    result = datasets("verify", "kodak", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert "24 missing" in result.stdout
    assert "imgcodec datasets fetch kodak" in result.stderr


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_unknown_name_is_told(command: str, tmp_path: Path) -> None:
    result = datasets(command, "kodac", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert "did you mean 'kodak'" in result.stderr
