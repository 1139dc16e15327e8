"""The folder that an agent's files are in, and the way from it to a file that cannot lead out of it.

A path is walked one name at a time, each opened relative to the folder before it and never through a link, so that
nothing that happens to the tree meanwhile (a folder swapped for a link between a look and an act) can lead outside.
Identity, not spelling, says what a folder is.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from tidegate.agent.tools import ToolFailed

MAX_PATH_CHARS = 4_096
MAX_NAME_BYTES = 255
MAX_DEPTH = 64

#: where skills lie; tools do not write there, because a skill is what later sessions are told to do
SKILLS = (("skills",), (".agents", "skills"))
#: the gateway's own configuration and environment, which may lie in a workspace
CONFIG_NAMES = frozenset({"tidegate.toml", "tidegate.env"})

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Parts = tuple[str, ...]


class Place:
    """A workspace: its folder, and how its files are reached.

    All of it blocks; whoever is on the event loop goes through a thread.
    """

    def __init__(self, root: Path, protected: Collection[Path] = ()) -> None:
        """Take the folder, and the files and folders that tools do not write, wherever they lie."""
        self.root = root
        self._protected = protected
        #: whoever changes files here holds it, so that no change is lost between reading and writing
        self.changing = Lock()
        self._spellings = (root, Path(os.path.realpath(root)))

    def parts(self, path: str) -> Parts:
        """Return the names on the way to *path*, which is relative to the workspace or absolute inside it.

        Raises:
            ToolFailed: It leads out of the workspace, or is no path.
        """
        if "\0" in path or len(path) > MAX_PATH_CHARS:
            raise ToolFailed(f"a path has at most {MAX_PATH_CHARS} characters, none of them NUL")
        names = tuple(name for name in self._relative(path).split("/") if name not in {"", "."})
        if ".." in names:
            raise ToolFailed("a path may not hold '..'", hint="write it from the workspace on")
        if len(names) > MAX_DEPTH:
            raise ToolFailed(f"a path has at most {MAX_DEPTH} names")
        for name in names:
            _check_name(name)
        return names

    @contextmanager
    def folder(self, parts: Parts, *, create: bool = False, to_write: bool = False) -> Iterator[int]:
        """Open a folder and hand out its descriptor; *create* makes the ones that are missing.

        Raises:
            ToolFailed: There is no such folder, it is no folder, or it may not be written to.
        """
        held = self._open_root()
        try:
            kept = self._kept(held) if to_write else frozenset[tuple[int, int]]()
            if _identity(os.fstat(held)) in kept:
                raise _skills_refused()
            for depth, name in enumerate(parts, 1):
                inner = _open_folder(held, name, parts[:depth], create=create)
                os.close(held)
                held = inner
                if to_write and _identity(os.fstat(held)) in kept:
                    raise _skills_refused()
            yield held
        finally:
            os.close(held)

    @contextmanager
    def file(self, parts: Parts) -> Iterator[tuple[int, os.stat_result]]:
        """Open a regular file to read and hand out its descriptor with what it is.

        Raises:
            ToolFailed: There is no such file, or it is something else.
        """
        if not parts:
            raise ToolFailed("this is the workspace itself", hint="list_files shows what is in it")
        with self.folder(parts[:-1]) as folder, file_in(folder, parts) as opened:
            yield opened

    def check_writable(self, parts: Parts) -> None:
        """Refuse what tools do not write: the workspace itself, skills of any agent, the gateway's configuration.

        Names are compared as a file system would that ignores case; `folder` compares identities as well.

        Raises:
            ToolFailed: It is one of these.
        """
        if not parts:
            raise ToolFailed("this is the workspace itself", hint="name a file in it")
        folded = tuple(_folded(name) for name in parts)
        if any(folded[: len(skills)] == skills for skills in SKILLS):
            raise _skills_refused()
        if folded[-1] in CONFIG_NAMES:
            raise ToolFailed(f"tools do not write {folded[-1]}", hint="ask the person to change it")
        where = tuple(map(_folded, self._spellings[1].parts)) + folded
        for path in self._protected:
            # it may not be there yet, and what it leads to may have changed
            closed = tuple(map(_folded, Path(os.path.realpath(path)).parts))
            if where[: len(closed)] == closed:
                raise _skills_refused()

    def _relative(self, path: str) -> str:
        if not path.startswith("/"):
            return path
        for root in self._spellings:
            if path == str(root) or path.startswith(f"{root}/"):
                return path[len(str(root)) :]
        raise ToolFailed("this path leads out of the workspace", hint="write it from the workspace on")

    def _open_root(self) -> int:
        try:
            # The person may have configured a link, so the way to the workspace was resolved once.
            return os.open(self._spellings[1], _FOLDER)
        except OSError as error:
            raise ToolFailed(f"the workspace cannot be opened: {error.strerror}") from error

    def _kept(self, root: int) -> frozenset[tuple[int, int]]:
        """Return the identities of the folders that are not written to."""
        found = set()
        for skills in SKILLS:
            with suppress(OSError):
                found.add(_identity(os.stat("/".join(skills), dir_fd=root)))
        for path in self._protected:
            with suppress(OSError):
                found.add(_identity(path.stat()))
        return frozenset(found)


@contextmanager
def file_in(folder: int, parts: Parts) -> Iterator[tuple[int, os.stat_result]]:
    """Open the regular file at the end of *parts*, which is in *folder*, as `Place.file` does."""
    try:
        held = os.open(parts[-1], _FILE, dir_fd=folder)
    except OSError as error:
        raise _why_not(error, folder, parts[-1], parts) from error
    try:
        found = os.fstat(held)
        check_regular(found, parts)
        yield held, found
    finally:
        os.close(held)


def shown(parts: Sequence[str]) -> str:
    """Return a path as people and models read it."""
    return "/".join(parts) or "."


def check_regular(found: os.stat_result, parts: Parts) -> None:
    """Refuse what is no regular file.

    Raises:
        ToolFailed: It is a folder, a pipe, a device or a socket.
    """
    if stat.S_ISDIR(found.st_mode):
        raise ToolFailed(f"{shown(parts)!r} is a folder", hint="list_files shows what is in it")
    if not stat.S_ISREG(found.st_mode):
        raise ToolFailed(f"{shown(parts)!r} is no regular file, but {kind_of(found.st_mode)}")


def kind_of(mode: int) -> str:
    """Say what the mode of something in a folder stands for."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ToolFailed("a path may not hold halves of surrogate pairs") from None
    if size > MAX_NAME_BYTES:
        raise ToolFailed(f"a name in a path has at most {MAX_NAME_BYTES} bytes")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ToolFailed("a path may not hold control characters")


def _open_folder(outer: int, name: str, parts: Parts, *, create: bool) -> int:
    if create:
        try:
            os.mkdir(name, 0o755, dir_fd=outer)
        except FileExistsError:
            pass
        except OSError as error:
            raise told(error, parts) from error
    try:
        return os.open(name, _FOLDER, dir_fd=outer)
    except OSError as error:
        raise _why_not(error, outer, name, parts) from error


def _why_not(error: OSError, folder: int, name: str, parts: Parts) -> ToolFailed:
    """Say why something could not be opened; a second look at it serves the message alone."""
    if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENXIO}:
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except OSError:
            return told(error, parts)
        if stat.S_ISLNK(mode):
            return ToolFailed(f"{shown(parts)!r} is a link; links are not followed")
        wanted = "folder" if error.errno == errno.ENOTDIR else "regular file"
        return ToolFailed(f"{shown(parts)!r} is no {wanted}, but {kind_of(mode)}")
    return told(error, parts)


def told(error: OSError, parts: Sequence[str]) -> ToolFailed:
    """Return what the model reads when the operating system refuses."""
    if error.errno == errno.ENOENT:
        return ToolFailed(f"there is no {shown(parts)!r}", hint="list_files shows what there is")
    return ToolFailed(f"{shown(parts)!r}: {error.strerror}")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _skills_refused() -> ToolFailed:
    return ToolFailed(
        "tools do not write skills, nor what the gateway is configured with",
        hint="tell the person what to put there",
    )
