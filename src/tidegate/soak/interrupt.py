"""How a soak is ended early: Ctrl-C, SIGTERM and SIGHUP cancel it, each time again, so that it can clean up."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


def run(runner: asyncio.Runner, main: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run *main*.

    Raises:
        KeyboardInterrupt: It was cancelled by a signal.
    """
    try:
        return runner.run(_cancellable(main))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _cancellable(main: Callable[[], Coroutine[object, object, T]]) -> T:
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if task is not None and signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await main()
