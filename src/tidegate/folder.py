"""The state folder: what lies there beside the store, who may read it, and how a running gateway is found.

Everything in it is for its owner alone: the folder is 0700, each file 0600, and no link is followed. What was left
open to others is closed at the start; what others could have put there is refused (`private`).
"""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tidegate import private
from tidegate.errors import ConfigError, FolderUnsafe, StorageFailed

TOKEN_VARIABLE = "TIDEGATE_TOKEN"  # noqa: S105 - the name of a variable, not a token
TOKEN_FILE = "token"  # noqa: S105 - the name of a file, not a token
CARD_FILE = "gateway.json"
WORKSPACE = "workspace"
SKILLS = "skills"
BACKUPS = "backups"
MIN_TOKEN = 16
MAX_TOKEN = 4_096

#: our own files begin so; others in the folder are not the gateway's business
_OURS = ("tidegate.db", "gateway.")
_TOKEN = re.compile(rf"[\x21-\x7e]{{{MIN_TOKEN},{MAX_TOKEN}}}")


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a running gateway leaves in its folder, so that it can be found."""

    url: str
    instance: str
    config: str | None
    pid: int
    #: the certificate that it shows, in PEM; None where it speaks no TLS
    certificate: str | None = None


def prepare(folder: Path) -> Sequence[str]:
    """Create the folder for its owner alone, or see to it that the one that is there is; return what was changed.

    Raises:
        StorageFailed: It cannot be created or written to.
        FolderUnsafe: It, or something of ours in it, is a link, no plain file, or somebody else's.
    """
    try:
        if not os.path.lexists(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        changed = [private.tighten(folder, is_folder=True), *map(_tightened, sorted(folder.iterdir()))]
        probe = folder / f"gateway.probe-{os.getpid()}"
        _write(probe, "")
        probe.unlink()
    except OSError as error:
        raise StorageFailed(
            f"the state folder {str(folder)!r} cannot be written to: {error.strerror}",
            hint="name another one with --state or TIDEGATE_HOME",
        ) from error
    return [line for line in changed if line]


def _tightened(path: Path) -> str:
    if path.name in {WORKSPACE, BACKUPS}:
        return private.tighten(path, is_folder=True)
    is_ours = path.name in {TOKEN_FILE, f"{TOKEN_FILE}.new"} or path.name.startswith(_OURS)
    return private.tighten(path) if is_ours else ""


def workspace(folder: Path) -> Path:
    """Create the folder for the files of agents that have none of their own, with one for skills, and return it.

    Raises:
        StorageFailed: It cannot be created.
    """
    place = folder / WORKSPACE
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        (place / SKILLS).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"{str(place)!r} cannot be created: {error.strerror}") from error
    return place


def token(folder: Path) -> str:
    """Return the token: from the environment, else the stored one, else a new one that is stored.

    Raises:
        ConfigError: It is too short, or holds what no header can carry.
        FolderUnsafe: The stored one is not its owner's alone.
    """
    known = known_token(folder)
    if known is not None:
        return known
    made = secrets.token_urlsafe(32)
    _write(folder / TOKEN_FILE, made + "\n")
    return made


def known_token(folder: Path) -> str | None:
    """Return the token: from the environment, else the one that a gateway has stored; None if there is none.

    Raises:
        ConfigError: It is too short, or holds what no header can carry.
        FolderUnsafe: The stored one is not its owner's alone.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is not None:
        return _usable(given, TOKEN_VARIABLE, "look at where it is set")
    path = folder / TOKEN_FILE
    stored = (private.read(path) or b"").decode("latin-1")
    return (
        _usable(stored, str(path), "remove the file; the next start makes a new one")
        if stored.strip()
        else None
    )


def _usable(text: str, place: str, hint: str) -> str:
    found = text.strip(" \t\n")
    if _TOKEN.fullmatch(found):
        return found
    if "\r" in found:
        what = "ends with a carriage return, as lines of a file from Windows do"
    elif len(found) < MIN_TOKEN:
        what = f"has fewer than {MIN_TOKEN} characters"
    elif len(found) > MAX_TOKEN:
        what = f"has more than {MAX_TOKEN} characters"
    else:
        what = "holds a blank, or what is no printable ASCII; no header can carry that"
    raise ConfigError(f"the token in {place} {what}", hint=hint)


def leave_card(folder: Path, card: Card) -> None:
    """Say how the running gateway is reached."""
    _write(folder / CARD_FILE, msgspec.json.encode(card).decode())


def take_card(folder: Path) -> None:
    """Take back what `leave_card` left."""
    (folder / CARD_FILE).unlink(missing_ok=True)


def card(folder: Path) -> Card | None:
    """Return how the gateway of a folder is reached; None if none has left a card.

    The token is sent to where the card says, so a card is believed only where nobody else could have written it.

    Raises:
        FolderUnsafe: It, or the folder, is not this user's alone to write.
    """
    found = private.read(folder / CARD_FILE)
    if found is None:
        return None
    place = folder.stat()
    if place.st_uid != os.geteuid() or place.st_mode & 0o022:
        raise FolderUnsafe(
            f"others may write to the state folder {str(folder)!r}", hint=f"chmod 700 {folder}"
        )
    try:
        return msgspec.json.decode(found, type=Card)
    except msgspec.DecodeError:
        return None


def _write(path: Path, text: str) -> None:
    """Write a whole file or none: beside it first, then in its place."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
