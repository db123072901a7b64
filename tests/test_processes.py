"""Processes and threads beside this one: how many, what becomes of items, what cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from imgcodec.codec.numeric.arrays import beside
from imgcodec.pool import NEVER_STARTED, run_in_processes
from imgcodec.processors import MAX_THREADS, num_threads


def test_threads_are_those_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= num_threads() <= MAX_THREADS


@pytest.mark.parametrize(
    ("threads", "x", "is_beside"),
    [("2", np.ones(2), True), ("1", np.ones(2), False), ("2", torch.ones(2), False)],
)
def test_arrays_are_computed_beside_what_follows(threads, x, is_beside, monkeypatch):
    """A function that waits for what follows shows it."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    goes_on = threading.Event()

    def function(scale, values):
        return scale * values, goes_on.wait(10 if is_beside else 0)

    wait = beside(function, 2, x)
    goes_on.set()
    found, did_go_on = wait()
    assert found.tolist() == [2, 2]
    assert did_go_on == is_beside
    with pytest.raises(ZeroDivisionError):
        beside(lambda values: 1 // 0, x)()


def _twice_or_death(item: int) -> int:
    if item == 3:
        os._exit(1)
    return 2 * item


def test_only_the_item_that_kills_its_process_is_lost():
    found = dict(run_in_processes(_twice_or_death, [1, 2, 3, 4, 5], 2))
    assert found == {1: 2, 2: 4, 3: None, 4: 8, 5: 10}


def test_a_script_that_starts_itself_again_is_told_so(tmp_path):
    """Each process runs a script without a guard from its first line, and fails there."""
    script = tmp_path / "script.py"
    script.write_text(
        "from imgcodec.pool import run_in_processes\n"
        "print(list(run_in_processes(abs, [1, 2, 3], 2)))\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert NEVER_STARTED in done.stderr.splitlines()[-1]
