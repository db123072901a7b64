"""How many processors there are, and what says how many of them a process is to use."""

from __future__ import annotations

import os

THREADS_VARIABLE = "OMP_NUM_THREADS"
MAX_THREADS = 8


def num_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """Return how many threads a picture is coded with.

    As the variable OMP_NUM_THREADS says, else the processors of this process, up to 8.
    """
    variable = os.environ.get(THREADS_VARIABLE, "")
    return max(1, int(variable)) if variable.isdecimal() else min(num_processors(), MAX_THREADS)
