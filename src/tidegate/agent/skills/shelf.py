"""Every SKILL.md of some places: looked at again and again, read when it has changed.

What is kept is a line for each folder, never a body. Whatever a folder holds, looking at it ends: what is no regular
file is not opened, what is too large is not read, what is too many is counted.
"""

import hashlib
import os
import time
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidegate.agent.skills import confined, document
from tidegate.agent.skills.confined import OutsideError
from tidegate.agent.skills.place import Place, Source
from tidegate.domain.skill import Problem, Severity, Skill
from tidegate.ids import BlobHash

FILE = "SKILL.md"
MAX_FOLDERS = 2_500  # of one place, and skills of one agent
MAX_LISTED = 20_000  # names of one place that are sorted
#: a file that was written to this shortly before it was read may change again within one tick of its clock
SETTLED_NS = 100_000_000

Signature = tuple[int, ...]

_FILE_BELOW = os.sep + FILE


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What one folder holds: a skill with the hash and the size of its SKILL.md, or only problems."""

    path: str
    skill: Skill | None = None
    hash: BlobHash | None = None
    bytes: int = 0
    problems: tuple[Problem, ...] = ()


class _Held(NamedTuple):
    signature: Signature
    is_settled: bool
    book: Book


class _Listed(NamedTuple):
    signature: Signature
    is_settled: bool
    paths: list[str]
    problems: tuple[Problem, ...]


class Shelf:
    """What lies in some places; `look` is for a thread of its own, since disks can be slow."""

    def __init__(self, places: Collection[Place]) -> None:
        self._places = {place.folder: place for place in places}
        self._held: dict[str, _Held] = {}
        self._listed: dict[Path, _Listed] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def limit(self) -> int:
        """The most folders that can be held."""
        return MAX_FOLDERS * len(self._places)

    def look(self) -> bool:
        """Look at every folder, read what is new, and say whether anything is different."""
        listed = {place.folder: self._list(place) for place in self._places.values()}
        held: dict[str, _Held] = {}
        is_same = [one[2:] for one in listed.values()] == [one[2:] for one in self._listed.values()]
        for place in self._places.values():
            for path in listed[place.folder].paths:
                before = self._held.get(path)
                signature = _signature(path + _FILE_BELOW)
                if before is None or before.signature != signature or not before.is_settled:
                    held[path] = _read(place, Path(path), signature)
                    is_same = is_same and before is not None and before.book == held[path].book
                else:
                    held[path] = before
        is_same = is_same and len(held) == len(self._held)
        self._held, self._listed = held, listed
        return not is_same

    def _list(self, place: Place) -> _Listed:
        """List a place if it has changed: links in it lead inside it, so that what they lead to changes it as well."""
        signature = _signature(str(place.folder))
        before = self._listed.get(place.folder)
        if before is not None and before.signature == signature and before.is_settled:
            return before
        return _Listed(signature, _is_settled(signature), *_folders(place))

    def books(self, place: Place) -> list[Book]:
        """Return what lies in a place, by the name of the folder, as it was last looked at."""
        paths = self._listed[place.folder].paths if place.folder in self._listed else []
        return [self._held[path].book for path in paths]

    def problems(self, place: Place) -> tuple[Problem, ...]:
        """Return what is wrong with a place as a whole."""
        return self._listed[place.folder].problems if place.folder in self._listed else ()


def body_of(place: Place, book: Book) -> bytes | None:
    """Return the bytes of a skill, or nothing if they are no longer those of the book."""
    try:
        root, steps = confined.inside(Path(book.path) / FILE, place.folder)
        data = confined.read(root, steps, document.MAX_BYTES)
    except (OSError, RuntimeError):
        return None
    return data if hashlib.sha256(data).hexdigest() == book.hash else None


def _folders(place: Place) -> tuple[list[str], tuple[Problem, ...]]:
    """Return the paths of the folders of a place, and what is wrong with it; one that is not there has none."""
    try:
        with os.scandir(place.folder) as entries:
            listed = list(islice(entries, MAX_LISTED))
        confined.inside(place.folder, place.root)
    except (FileNotFoundError, NotADirectoryError):
        if place.source is not Source.AGENT:
            return [], ()
        remedy = "correct `skills` in the configuration, or create it"
        return [], (_problem(place.folder, "this folder is not there", remedy, Severity.WARNING),)
    except (OSError, RuntimeError) as error:
        message, remedy = _explained(error, "let the gateway read it, or take it away")
        return [], (_problem(place.folder, message, remedy),)
    folders = [entry.name for entry in listed if not entry.name.startswith(".") and _is_folder(entry)]
    names = sorted(filter(_is_printable, folders))
    problems: list[Problem] = []
    if len(names) < len(folders):
        message = f"the names of {len(folders) - len(names):,} folders cannot be printed"
        problems.append(_problem(place.folder, message, "rename them"))
    if len(names) > MAX_FOLDERS or len(listed) == MAX_LISTED:
        message = f"there are {len(names):,} folders{' or more' if len(listed) == MAX_LISTED else ''}; "
        message += f"the first {MAX_FOLDERS:,} by name are looked at"
        problems.append(_problem(place.folder, message, "take away what is not needed"))
    return [f"{place.folder}{os.sep}{name}" for name in names[:MAX_FOLDERS]], tuple(problems)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # what is wrong with it is told when it is read


def _is_printable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.isprintable()


def _signature(path: str) -> Signature:
    try:
        found = os.stat(path)  # noqa: PTH116 - a tenth of the time of a Path, for each file at each look
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev, found.st_mode)


def _read(place: Place, folder: Path, signature: Signature) -> _Held:
    return _Held(signature, _is_settled(signature), read_book(place, folder))


def _is_settled(signature: Signature) -> bool:
    """Whether what has this signature now cannot change without getting another one."""
    return len(signature) == 1 or time.time_ns() - signature[1] > SETTLED_NS


def read_book(place: Place, folder: Path) -> Book:
    """Read what one folder of a place holds."""
    path = folder / FILE
    try:
        root, steps = confined.inside(path, place.folder)
        data = confined.read(root, steps, document.MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return _without(folder, f"there is no {FILE}", "write one, or take the folder away", Severity.WARNING)
    except (OSError, RuntimeError) as error:  # of a loop of links
        message, remedy = _explained(error, "make it a regular file that the gateway can read")
        return _without(path, message, remedy)
    if len(data) > document.MAX_BYTES:
        message = f"the file has more than {document.MAX_BYTES >> 20} MiB"
        return _without(path, message, "put what is long into references/")
    read = document.read(data, str(path))
    if read.skill is None:
        return Book(path=str(folder), problems=read.problems)
    name = BlobHash(hashlib.sha256(data).hexdigest())
    return Book(path=str(folder), skill=read.skill, hash=name, bytes=len(data), problems=read.problems)


def _explained(error: Exception, remedy: str) -> tuple[str, str]:
    if isinstance(error, OutsideError):
        hint = "copy it here, or name the folder that it leads to under [agents.NAME] skills"
        return "this link leads out of the folder that it lies in", hint
    reason = getattr(error, "strerror", None) or str(error)
    return f"this cannot be read: {reason}", remedy


def _without(path: Path, message: str, remedy: str, severity: Severity = Severity.ERROR) -> Book:
    folder = path.parent if path.name == FILE else path
    return Book(path=str(folder), problems=(_problem(path, message, remedy, severity),))


def _problem(path: Path, message: str, remedy: str, severity: Severity = Severity.ERROR) -> Problem:
    line = 1 if path.name == FILE else 0
    return Problem(severity=severity, path=str(path), line=line, message=message, remedy=remedy)
