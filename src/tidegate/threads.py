"""Work that would hold the loop up, done on a thread, whose failure keeps nothing of it.

The traceback of what a thread raises leads through the frame that waited for it, which holds what it waited for, which
holds the error: a ring. Whatever the thread had read so far, and the request that it did that for, would stay until the
collector finds them, tens of megabytes at a time.
"""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

_WAITING = 3  # frames before those of the work: the one below, and two of anyio


async def on_thread(work: Callable[[], T], limiter: anyio.CapacityLimiter | None = None) -> T:
    """Do blocking work; an error is raised as it is, and leads to the frames of the work alone."""
    try:
        return await anyio.to_thread.run_sync(work, limiter=limiter)
    except Exception as error:
        error.__traceback__ = _of_the_work(error.__traceback__)
        raise


def _of_the_work(trace: TracebackType | None) -> TracebackType | None:
    for _ in range(_WAITING):
        trace = trace.tb_next if trace is not None else None
    return trace
