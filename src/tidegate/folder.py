"""The state folder: what lies there beside the store, who may read it, and how a running gateway is found.

Everything in it is for its owner alone: the folder is 0700, each file 0600, and no link is followed.
"""

import os
import secrets
from pathlib import Path

import msgspec

from tidegate.errors import ConfigError, StorageFailed

TOKEN_VARIABLE = "TIDEGATE_TOKEN"  # noqa: S105 - the name of a variable, not a token
TOKEN_FILE = "token"  # noqa: S105 - the name of a file, not a token
CARD_FILE = "gateway.json"
WORKSPACE = "workspace"
SKILLS = "skills"
MIN_TOKEN = 16


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a running gateway leaves in its folder, so that it can be found."""

    url: str
    instance: str
    config: str | None
    pid: int


def prepare(folder: Path) -> None:
    """Create the folder for its owner alone; one that is there may hold other things.

    Raises:
        StorageFailed: It cannot be created or written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f"gateway.probe-{os.getpid()}"
        _write(probe, "")
        probe.unlink()
    except OSError as error:
        raise StorageFailed(
            f"the state folder {str(folder)!r} cannot be written to: {error.strerror}",
            hint="name another one with --state or TIDEGATE_HOME",
        ) from error


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
        ConfigError: The one in the environment is too short.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is not None:
        given = given.strip()
        if len(given) < MIN_TOKEN:
            raise ConfigError(
                f"{TOKEN_VARIABLE} has fewer than {MIN_TOKEN} characters", hint="use a longer one"
            )
        return given
    stored = stored_token(folder)
    if stored:
        return stored
    made = secrets.token_urlsafe(32)
    _write(folder / TOKEN_FILE, made + "\n")
    return made


def stored_token(folder: Path) -> str | None:
    """Return the token that a gateway has stored; None if there is none."""
    try:
        return (folder / TOKEN_FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def leave_card(folder: Path, card: Card) -> None:
    """Say how the running gateway is reached."""
    _write(folder / CARD_FILE, msgspec.json.encode(card).decode())


def take_card(folder: Path) -> None:
    """Take back what `leave_card` left."""
    (folder / CARD_FILE).unlink(missing_ok=True)


def card(folder: Path) -> Card | None:
    """Return how the gateway of a folder is reached; None if none has left a card."""
    try:
        return msgspec.json.decode((folder / CARD_FILE).read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, text: str) -> None:
    """Write a whole file or none: beside it first, then in its place."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
