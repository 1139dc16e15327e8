"""A terminal of a test's own: what a person sees of a command, and the keys that a person strikes."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from command_line import CommandLine, Process, limited


class Terminal:
    """A command on a terminal."""

    def __init__(self, process: Process, screen: int) -> None:
        self.process = process
        self._screen = screen
        self._ahead = b""

    def type(self, keys: str) -> None:
        """Strike keys."""
        os.write(self._screen, keys.encode())

    def until(self, text: str) -> str:
        """Read the screen until *text* stands there, and return all that was read up to it."""
        wanted = text.encode()
        while wanted not in self._ahead:
            self._ahead += os.read(self._screen, 4_096)
        read, found, self._ahead = self._ahead.partition(wanted)
        return (read + found).decode()

    def rest(self) -> str:
        """Read the screen until the command has ended."""
        try:
            while piece := os.read(self._screen, 4_096):
                self._ahead += piece
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        return self._ahead.decode()


@contextmanager
def terminal(line: CommandLine, *args: str, columns: int = 100, code: int = 0) -> Iterator[Terminal]:
    """Run a command on a terminal; after the block it has to end with *code*."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with line.start(*args, screen=theirs) as process, limited(process):
            os.close(theirs)
            shown = Terminal(process, ours)
            yield shown
            shown.rest()
            process.wait()
    finally:
        os.close(ours)
    assert code == process.returncode
