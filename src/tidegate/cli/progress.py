"""That something is under way: on a terminal, on standard error, gone when it is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def waiting(what: str, *, is_shown: bool = True) -> Iterator[None]:
    """Show that *what* takes as long as it takes."""
    if not (is_shown and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

    with Console(stderr=True).status(what):
        yield


@contextmanager
def counting(what: str, total: int, *, is_shown: bool = True) -> Iterator[Callable[[], None]]:
    """Show how far *what* has come; yield what is called at each of *total* steps."""
    if not (is_shown and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
