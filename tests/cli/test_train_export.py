"""`imgcodec train` and `imgcodec export` hand their arguments on."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

LOSS = types.SimpleNamespace(lpips=0.0, lpips_network="squeeze", texture=0.0)
RECIPE = types.SimpleNamespace(loss=LOSS)


@pytest.fixture
def calls(monkeypatch):
    """Replace the functions behind the two commands; return the list of their calls."""
    made = []

    def record(name):
        def function(*args, **kwargs):
            made.append((name, args, kwargs))
            if name != "export":
                return RECIPE if name == "load_recipe" else name
            Path(args[1]).write_bytes(b"weights")
            return {"bits_measured": 5.0}

        return function

    for module, function in (
        ("imgcodec.codec.training.recipe", "load_recipe"),
        ("imgcodec.codec.training.loop", "train"),
        ("imgcodec.codec.training.export", "export"),
        ("imgcodec.codec.training.graphs", "write_graphs"),
        ("imgcodec.datasets.shards", "iter_pictures"),
        ("imgcodec.datasets.shards", "iter_kinds"),
    ):
        fake = sys.modules.get(module)
        if not isinstance(fake, types.SimpleNamespace):
            fake = types.SimpleNamespace(LICENCE="MIT")
        setattr(fake, function, record(function))
        monkeypatch.setitem(sys.modules, module, fake)
    return made


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: beta\n")
    return path


def test_train_passes_recipe_data_and_settings(invoke, calls, recipe, tmp_path):
    shards = [tmp_path / f"{index}.tar" for index in range(3)]
    for shard in shards:
        shard.touch()
    result = invoke(
        "train", recipe, "--data", *shards, "--out", tmp_path / "run", "--set", "train.lr=1e-3"
    )
    assert result.exit_code == 0, result.output
    (_, loaded, _), (_, read, _), (_, trained, options) = calls
    assert loaded == (recipe, ["train.lr=1e-3"])
    assert read == (shards,)
    assert trained == (RECIPE, "iter_kinds", tmp_path / "run")
    assert (options["resume"], options["init"]) == (False, None)


def test_train_takes_resume_or_init(invoke, calls, recipe, tmp_path):
    assert invoke("train", recipe, "--data", tmp_path, "--resume").exit_code == 0
    _, args, options = calls[-1]
    assert (options["resume"], options["init"]) == (True, None)
    assert args[2] == Path("runs/recipe")
    assert invoke("train", recipe, "--data", tmp_path, "--init", recipe).exit_code == 0
    _, _, options = calls[-1]
    assert (options["resume"], options["init"]) == (False, recipe)
    both = invoke("train", recipe, "--data", tmp_path, "--resume", "--init", recipe)
    assert both.exit_code == 2


def test_backbones_are_loaded_where_the_recipe_weighs_them(
    invoke, calls, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(LOSS, "texture", 1.0)
    asked = []
    fake = types.SimpleNamespace(load_texture=lambda folders: asked.append(folders) or "texture")
    monkeypatch.setitem(sys.modules, "imgcodec.codec.training.texture", fake)
    result = invoke("train", recipe, "--data", tmp_path, "--weights-dir", tmp_path)
    assert result.exit_code == 0, result.output
    assert asked[0][0] == tmp_path
    assert (calls[-1][2]["texture"], calls[-1][2]["perceptual"]) == ("texture", None)


def test_train_finds_recipes_of_the_package(invoke, calls, tmp_path):
    assert invoke("train", "beta", "--data", tmp_path).exit_code == 0
    assert calls[0][1][0].name == "beta.yaml"
    result = invoke("train", "nosuch", "--data", tmp_path)
    assert result.exit_code == 2
    assert "beta" in result.stderr


def test_wrong_setting_is_a_usage_error_that_names_the_nearest_key(invoke, tmp_path):
    result = invoke("train", "beta", "--data", tmp_path, "--set", "train.lrr=1", "--out", tmp_path)
    assert result.exit_code == 2
    assert "did you mean 'lr'" in result.stderr


def test_data_without_pictures_is_a_failure(invoke, tmp_path):
    result = invoke("train", "beta", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "no pictures" in result.stderr


@pytest.mark.parametrize("args", [["--data", "nosuch"], []])
def test_train_refuses_wrong_usage(invoke, calls, recipe, args):
    assert invoke("train", recipe, *args).exit_code == 2
    assert calls == []


def test_export_passes_checkpoint_and_calibration(invoke, calls, recipe, tmp_path):
    out = tmp_path / "out.safetensors"
    options = ["--provenance", "mine", "--calibrate", tmp_path, "--max-pictures", "3"]
    result = invoke("export", recipe, out, *options)
    assert result.exit_code == 0, result.output
    (_, read, _), (_, exported, given), graphs = calls
    assert graphs == ("write_graphs", (out, "fidelity"), {})
    assert read == ([tmp_path],)
    assert exported == (recipe, out)
    assert "".join(given.pop("pictures")) == "iter_pictures"[:3]
    assert given == {"provenance": "mine", "licence": "MIT", "name": None}
    assert "bits_measured: 5" in result.stderr


def test_export_overwrites_only_by_force(invoke, calls, recipe, tmp_path):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    assert invoke("export", recipe, out, "--provenance", "mine").exit_code == 1
    assert (calls, out.read_bytes()) == ([], b"old")
    options = ["--provenance", "mine", "--licence", "CC0", "--id", "beta-tiny-1", "-f", "--json"]
    result = invoke("export", recipe, out, *options)
    assert json.loads(result.stdout) == {"weights": str(out), "bits_measured": 5.0}
    given = {"pictures": (), "provenance": "mine", "licence": "CC0", "name": "beta-tiny-1"}
    assert calls[0] == ("export", (recipe, out), given)


def test_export_wants_provenance_and_a_safetensors_name(invoke, calls, recipe, tmp_path):
    assert invoke("export", recipe, tmp_path / "out.safetensors").exit_code == 2
    assert invoke("export", recipe, tmp_path / "out.pt", "--provenance", "x").exit_code == 2
    assert calls == []
