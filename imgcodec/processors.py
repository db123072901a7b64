"""How many processors there are, and what says how many of them a process is to use."""

from __future__ import annotations

import os

THREADS_VARIABLE = "OMP_NUM_THREADS"


def num_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
