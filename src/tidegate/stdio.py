"""Standard input, output and error: there whatever the process was started with, and never required.

A process may be started with any of the three closed; then the next file that is opened would take its place, and what
is printed would end up in a database. So ``/dev/null`` takes it first. A gateway does not wait for whoever reads its
output either: a thread writes it, from a bounded queue; what finds no room there, or no room on the disk, is dropped
and counted.
"""

import os
import sys
import threading
from collections import deque
from contextlib import suppress
from io import TextIOBase

MAX_LINES = 1_000
MAX_BYTES = 1 << 20
END_S = 1.0  # for what waits when the process ends
STREAMS = (("stdin", 0), ("stdout", 1), ("stderr", 2))


def complete() -> None:
    """Put ``/dev/null`` in the place of each standard stream that is closed; called before any file is opened."""
    for name, number in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - it stays


class Output:
    """What the process says, on its way out; one for the whole process."""

    def __init__(self) -> None:
        #: pieces that were not written since the start
        self.dropped = 0
        self.waiting = 0
        self._bytes = 0
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Let everything that is printed from now on go through the queue."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
            self._thread.start()
            for name, number in STREAMS[1:]:
                setattr(sys, name, _Stream(self, number))

    def put(self, number: int, piece: bytes) -> None:
        """Take a piece for a standard stream; it waits for nothing."""
        with self._change:
            if self.waiting >= MAX_LINES or self._bytes + len(piece) > MAX_BYTES:
                self.dropped += 1
                return
            self._pieces.append((number, piece))
            self.waiting += 1
            self._bytes += len(piece)
            self._change.notify_all()

    def end(self) -> None:
        """Give what waits a moment to get out; whatever is left then is lost."""
        if self._thread is not None:
            with self._change:
                self._change.wait_for(lambda: not self.waiting, END_S)

    def _write_all(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._pieces)
                number, piece = self._pieces.popleft()
            is_written = _write(number, piece)
            with self._change:
                self.dropped += not is_written
                self.waiting -= 1
                self._bytes -= len(piece)
                self._change.notify_all()


class _Stream(TextIOBase):
    """A standard stream whose text goes through the queue."""

    encoding = "utf-8"

    def __init__(self, output: Output, number: int) -> None:
        self._output = output
        self._number = number

    def write(self, text: str) -> int:
        """Take a text."""
        piece = text.encode(errors="backslashreplace")
        if piece:
            self._output.put(self._number, piece)
        return len(text)

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._number)

    def fileno(self) -> int:
        """Return the number of the stream."""
        return self._number


def _write(number: int, piece: bytes) -> bool:
    """Write a piece, however long that takes, and say whether it was taken."""
    with suppress(OSError):
        while piece:
            piece = piece[os.write(number, piece) :]
    return not piece


OUTPUT = Output()
