"""`imgcodec doctor` and `imgcodec completion`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys

import pytest

import imgcodec
from imgcodec.cli import doctor
from imgcodec.codec.options import TUNES
from imgcodec.codec.weights import installed


def test_a_whole_installation_is_good(invoke):
    result = invoke("doctor", "--json")
    assert "no colours" not in result.stderr
    assert result.exit_code == 0, result.output
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert all(check["is_good"] for check in checks.values())
    assert checks["imgcodec"]["found"] == imgcodec.__version__
    assert checks["torch"]["found"] == importlib.metadata.version("torch")
    for model in imgcodec.list_models():
        assert f"hash {model.hash[:8]} matches, round trip" in checks[model.id]["found"]


def test_text_has_a_line_for_each_check(invoke, monkeypatch):
    monkeypatch.setattr(doctor, "run_checks", lambda: iter([doctor.Check("a", "one")]))
    result = invoke("doctor")
    assert result.exit_code == 0
    assert result.stdout.split() == ["ok", "a", "one"]


def test_damaged_weights_are_found(invoke, tmp_path, monkeypatch):
    model = imgcodec.list_models()[0]
    damaged = bytearray(model.path.read_bytes())
    damaged[-5] ^= 1
    (tmp_path / model.path.name).write_bytes(damaged)
    monkeypatch.setattr(installed, "WEIGHTS_DIR", tmp_path)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "do not have the hash" in result.stdout
    assert f"something is wrong with: {model.id}" in result.stderr


def test_no_models_and_missing_packages_are_found(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "WEIGHTS_DIR", tmp_path)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "models" in result.stderr
    monkeypatch.setattr(doctor, "NEEDED", ("click", "no-such-package"))
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "no-such-package" in result.stderr


def test_the_range_coder_that_runs_is_named(monkeypatch):
    monkeypatch.setenv("IMGCODEC_CODER", "constriction")
    assert doctor._check_coder().found == "constriction"
    monkeypatch.setenv("IMGCODEC_CODER", "python")
    forced = doctor._check_coder()
    assert forced.is_good
    assert forced.found.startswith("plain Python: same files, symbols take 5 to 6 times as long")
    assert forced.found.endswith("IMGCODEC_CODER says so")
    monkeypatch.setenv("IMGCODEC_CODER", "rust")
    assert not doctor._check_coder().is_good


def test_without_constriction_the_coder_says_what_to_install(root):
    code = "import sys; sys.modules['constriction'] = None\n"
    code += "from imgcodec.cli.doctor import _check_coder\n"
    code += "check = _check_coder(); print(check.is_good, check.found)"
    environment = {key: value for key, value in os.environ.items() if key != "IMGCODEC_CODER"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("True plain Python: ")
    assert "constriction cannot be imported" in result.stdout
    assert "`pip install constriction` where it has a wheel" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_those_of_click(invoke, shell):
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_IMGCODEC_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout.encode(), check=True)
    assert json.loads(invoke("completion", shell, "--json").stdout)["shell"] == shell
    assert invoke("completion", "csh").exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("imgcodec en", "encode"),
        ("imgcodec encode --target-p", "--target-psnr"),
        ("imgcodec encode -m b", "beta"),
        ("imgcodec encode -m beta-base-", TUNES["eye"]),
        ("imgcodec encode --metadata n", "none"),
        ("imgcodec encode --metadata icc,e", "icc,exif"),
        ("imgcodec decode --decoder n", "natural"),
        ("imgcodec sample --attribute 7", "7"),
        ("imgcodec bench --dataset ko", "kodak"),
        ("imgcodec bench --codecs jpeg,imgcodec-b", "jpeg,imgcodec-beta"),
        ("imgcodec match --against web", "webp"),
        ("imgcodec datasets fetch ko", "kodak"),
    ],
)
def test_completion_completes(root, words, expected):
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "_IMGCODEC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    code = "import sys; from imgcodec.cli.main import main\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert f"plain,{expected}" in result.stdout.splitlines()


@pytest.mark.parametrize("command", ["encode", "decode", "inspect", "bench", "completion"])
def test_help_has_examples(invoke, command):
    text = invoke(command, "--help").stdout
    assert f"Examples:\n    imgcodec {command} " in text
