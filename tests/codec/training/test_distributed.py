"""Data-parallel training through torchrun, on two CPU processes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import yaml
from PIL import Image

from tests.codec.conftest import smooth_pictures, tiny_recipe_of


def test_two_processes_train_one_model(tmp_path, root, tiny_weights):
    data = tmp_path / "data"
    data.mkdir()
    for number, picture in enumerate(smooth_pictures(12)):
        Image.fromarray(picture).save(data / f"{number:02}.png")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe_of("beta").to_dict()))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["-m", "imgcodec", "train", recipe, "--data", data, "--out", tmp_path / "run"]
    command += ["--init", tiny_weights]
    settings = ["--set", "train.steps=8", "--set", "train.batch_size=1"]
    done = subprocess.run(
        [sys.executable, *launcher, *command, *settings],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"2 process(es)" in done.stderr
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["8"]
    assert (tmp_path / "run" / "ema.safetensors").exists()
