"""How much memory Python allocates, or a process holds, at the most."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_STATUS = Path("/proc/self/status")
_PEAK_KIB = re.compile(r"VmHWM:\s*(\d+) kB")


@contextmanager
def allocating_less_than(limit_bytes: int) -> Iterator[None]:
    """Fail if the block holds more at any time."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < limit_bytes


def peak_mib(code: str, timeout_s: float = 600.0) -> float:
    """Run Python code in a process of its own; how much memory was resident at the most, in MiB.

    `getrusage` does not serve: after `exec` its peak still holds that of the process which
    started this one, and a worker of a long run of tests is larger than what is measured here.
    """
    if not _STATUS.is_file() or not _PEAK_KIB.search(_STATUS.read_text()):
        pytest.skip("this system does not say how much memory a process held at the most")
    code += f"\nprint(open({str(_STATUS)!r}).read())\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert done.returncode == 0, done.stderr
    return int(_PEAK_KIB.findall(done.stdout)[-1]) / 1024
