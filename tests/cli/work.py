"""Work for processes, which import nothing else for it."""

from __future__ import annotations

import os
import signal
import time


def work_that_may_die(source: str, target: str) -> dict[str, str]:
    """Do nothing, but for two sources: `kill` kills its process, `raise` raises."""
    if source == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if source == "raise":
        raise ZeroDivisionError("a bug")
    time.sleep(0.05)
    return {"threads": os.environ["OMP_NUM_THREADS"]}
