"""Processes that outlive neither a crash of one of them nor their parent: batches and bench."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import TypeVar

from imgcodec.processors import THREADS_VARIABLE, num_processors

Item = TypeVar("Item")
Result = TypeVar("Result")

DIED = "the process died (killed, or out of memory)"
"""What to say of an item without a result."""
NEVER_STARTED = (
    "processes die as they start: a script that measures or trains needs "
    "`if __name__ == '__main__':` around its calls"
)


def run_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    *,
    threads: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> Iterator[tuple[Item, Result | None]]:
    """Yield every item with its result, in the order in which they are done.

    Where a process dies (killed, out of memory), the items that were in work are tried again one
    at a time, so that only the one that kills is lost: its result is None.

    Args:
        function: what to do with an item; can be pickled, as can `prepare`. What it raises ends
            the run.
        items: the items.
        jobs: number of processes.
        threads: of each process; None for an equal share of the cores, unless the environment
            says otherwise.
        prepare: called once in each process, before anything else.

    Raises:
        RuntimeError: no process came as far as to begin.
    """
    queue, suspects = deque(items), deque[Item]()
    while queue:
        yield from _run_pool(function, queue, suspects, jobs, threads, prepare)
    for item in suspects:
        alone, again = deque([item]), deque[Item]()
        yield from _run_pool(function, alone, again, 1, threads, prepare)
        if again:
            yield item, None


def _run_pool(
    function: Callable[[Item], Result],
    queue: deque[Item],
    lost: deque[Item],
    jobs: int,
    threads: int | None,
    prepare: Callable[[], None] | None,
) -> Iterator[tuple[Item, Result]]:
    """Yield results until the queue is empty or a process has died; then `lost` is filled."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    arguments = (started, jobs, threads, prepare)
    with ProcessPoolExecutor(jobs, context, _start_worker, arguments) as pool:
        running: dict[Future[Result], Item] = {}
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    try:
                        running[pool.submit(function, queue[0])] = queue[0]
                    except BrokenProcessPool:  # a process died while it had nothing to do
                        if not running:
                            _check_start(started)
                            return
                        break
                    queue.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        lost.append(item)
                    else:
                        yield item, future.result()
                if lost:
                    _check_start(started)
                    lost.extend(running.values())
                    return
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_start(started: Event) -> None:
    if not started.is_set():
        raise RuntimeError(NEVER_STARTED)


def _start_worker(
    started: Event, jobs: int, threads: int | None, prepare: Callable[[], None] | None
) -> None:
    """Prepare a process: its share of the cores, no part in Ctrl-C, an end with the parent."""
    started.set()
    # Before torch is imported, so that its thread pools have the right size from the start.
    if threads is None:
        os.environ.setdefault(THREADS_VARIABLE, str(max(1, num_processors() // jobs)))
    else:
        os.environ[THREADS_VARIABLE] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
