"""Data-parallel training on two CPU processes, as torchrun starts them."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys

import pytest
import yaml
from PIL import Image

from tests.codec.conftest import smooth_pictures, tiny_recipe_of

FORKED = """
import os
import sys
import torch._dynamo  # importing torch, and this with its optimisers, twice takes most of the time
from imgcodec.codec.training import loop
from imgcodec.cli.main import cli

loop.HELD_OUT = 1  # validation would take longer than the steps
os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
child = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(int(child == 0))
try:
    cli(sys.argv[2:])
except SystemExit as done:
    assert not done.code
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
"""What torchrun does with a command line: two processes that know their number and the port."""
TORCHRUN = "torch.distributed.run --standalone --nproc_per_node=2"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("launcher", ["fork", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_processes_train_one_model(tmp_path, root, tiny_weights, launcher):
    data = tmp_path / "data"
    data.mkdir()
    for number, picture in enumerate(smooth_pictures(12, side=72)):
        Image.fromarray(picture).save(data / f"{number:02}.png")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe_of("beta").to_dict()))
    starts = {
        "fork": ["-c", FORKED, str(_free_port())],
        "torchrun": ["-m", *TORCHRUN.split(), "-m", "imgcodec"],
    }
    command = ["train", recipe, "--data", data, "--out", tmp_path / "run", "--init", tiny_weights]
    settings = ["--set", "train.steps=4", "--set", "train.batch_size=1"]
    done = subprocess.run(
        [sys.executable, *starts[launcher], *command, *settings],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        cwd=tmp_path,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"2 process(es)" in done.stderr
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4"]
    assert (tmp_path / "run" / "ema.safetensors").exists()
