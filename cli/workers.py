"""Processes that work through a batch and outlive neither a crash of one nor their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from imgcodec.cli.batch import Item, Outcome, Work, attempt

THREADS_VARIABLE = "OMP_NUM_THREADS"


def run_in_processes(work: Work, items: Sequence[Item], jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of every item, in the order in which they are done.

    Where a process dies (killed, out of memory), the items that were in work are tried again one
    at a time, so that only the one that kills is lost.

    Args:
        work: handles one item.
        items: the items.
        jobs: processes; they share the processor's cores.
    """
    queue, suspects = deque(items), deque[Item]()
    while queue:
        yield from _run_pool(work, queue, suspects, jobs)
    for item in suspects:
        alone, again = deque([item]), deque[Item]()
        yield from _run_pool(work, alone, again, 1)
        if again:
            yield Outcome(item, "failed", error="the process died (killed, or out of memory)")


def _run_pool(work: Work, queue: deque[Item], lost: deque[Item], jobs: int) -> Iterator[Outcome]:
    """Yield outcomes until the queue is empty or a process has died; then `lost` is filled."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (jobs,)) as pool:
        running: dict[Future[Outcome], Item] = {}
        while queue or running:
            while queue and len(running) < jobs:
                try:
                    running[pool.submit(attempt, work, queue[0])] = queue[0]
                except BrokenProcessPool:  # a process died while it had nothing to do
                    if not running:
                        return
                    break
                queue.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    lost.append(item)
                else:
                    yield future.result()
            if lost:
                lost.extend(running.values())
                return


def _start_worker(jobs: int) -> None:
    """Prepare a process: its share of the cores, no part in Ctrl-C, an end with the parent."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        cores = os.cpu_count() or 1
    os.environ.setdefault(THREADS_VARIABLE, str(max(1, cores // jobs)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
