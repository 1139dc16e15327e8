"""What a person has typed before, kept between conversations in a file of the command line's own.

It lies outside the state folder, which belongs to the gateway. It is for its owner alone, holds `KEPT` lines, and
where it cannot be written there is none.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

KEPT = 1_000
MAX_CHARS = 4_000  # of a line that is kept


def place() -> Path:
    """Return where the history lies."""
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    folder = named if named.is_absolute() else Path.home() / ".local/state"
    return folder / "tidegate-cli" / "chat_history"


class History:
    """The lines of the file, the oldest first; each is JSON, since a pasted one can have several lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = self._read()
        #: lines in the file
        self._stored = len(self.lines)
        del self.lines[:-KEPT]

    def add(self, line: str) -> None:
        """Keep a line; one that begins with a space, is very long or is the last one again is not kept."""
        if line.startswith(" ") or len(line) > MAX_CHARS or line in self.lines[-1:]:
            return
        self.lines.append(line)
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(self._path, [line], os.O_APPEND)
            self._stored += 1
            if self._stored > 2 * KEPT:
                self._shorten()

    def _read(self) -> list[str]:
        lines: list[str] = []
        with suppress(OSError, UnicodeDecodeError):
            for written in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    line = json.loads(written)
                    lines += [line] if isinstance(line, str) else []
        return lines

    def _shorten(self) -> None:
        del self.lines[:-KEPT]
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        self._write(beside, self.lines, os.O_EXCL)
        beside.replace(self._path)
        self._stored = len(self.lines)

    def _write(self, path: Path, lines: list[str], flag: int) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
