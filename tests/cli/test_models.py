"""`imgcodec models`."""

from __future__ import annotations

import json
from pathlib import Path


def test_json_lists_weights_that_exist(invoke):
    models = json.loads(invoke("models", "--json").stdout)
    assert "beta" in {model["family"] for model in models}
    for model in models:
        assert Path(model["path"]).stat().st_size == model["bytes"]
        assert model["id"].startswith(model["family"])
        assert model["params"] > 0
        assert model["licence"]
        assert model["provenance"]


def test_default_decoder_stays_within_its_budget(invoke):
    models = json.loads(invoke("models", "--json").stdout)
    assert all(0 < model["kmac_decode"] <= 40 for model in models if model["family"] == "beta")


def test_table_has_a_line_for_each_model(invoke):
    models = json.loads(invoke("models", "--json").stdout)
    lines = invoke("models").stdout.splitlines()
    assert lines[0].split()[0] == "id"
    assert "kMAC/px" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == [model["id"] for model in models]


def test_model_id_encodes_as_the_family_does(invoke, photo, tmp_path):
    models = json.loads(invoke("models", "--json").stdout)
    for model in models:
        path = tmp_path / f"{model['id']}.cvb"
        assert invoke("encode", photo, path, "--model", model["id"], "-q", "10").exit_code == 0
        report = json.loads(invoke("inspect", path, "--json").stdout)
        assert report["model"] == model["id"]
