"""Processes beside this one: what becomes of items, and of scripts that cannot start any."""

from __future__ import annotations

import os
import subprocess
import sys

from imgcodec.pool import NEVER_STARTED, run_in_processes


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
