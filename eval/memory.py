"""Peak memory of a block of code, as the kernel counts it (Linux; NaN elsewhere)."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class PeakMemory:
    """Result of `peak_memory`; `bytes` is valid after its block."""

    bytes: float = math.nan


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure how far the resident memory of this process rises above its value at the start.

    Memory that the allocator holds but does not use is given back first, so that what earlier
    blocks left behind does not hide the need of this one.
    """
    result = PeakMemory()
    _trim()
    start = _read_kib("VmRSS") if _reset_peak() else None
    yield result
    peak = _read_kib("VmHWM")
    if start is not None and peak is not None:
        result.bytes = float(max(peak - start, 0) * 1024)


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _read_kib(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    text = next(found, None)
    return None if text is None else int(text)


def _trim() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return
