"""Facts: what an agent remembers beyond a conversation.

A fact belongs to its agent. What it is worth fades: by half for each `HALF_LIFE_MS` since it was last used, from its
importance. So that facts can be kept in the order of their worth without ever being counted anew, `worth` is the
logarithm of that, which two facts compare alike at any time.
"""

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tidegate.clock import DAY_MS
from tidegate.ids import FactId, SessionId

MAX_TEXT_CHARS = 2_000
MAX_NAME_CHARS = 200
MAX_VALUE_CHARS = 1_000
MAX_CATEGORY_CHARS = 40
MAX_IMPORTANCE = 10
USUAL_IMPORTANCE = 5
HALF_LIFE_MS = 30 * DAY_MS
OUTSIDE_HALF_LIVES = 16

Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Value = Annotated[str, Meta(max_length=MAX_VALUE_CHARS)]
Category = Annotated[str, Meta(max_length=MAX_CATEGORY_CHARS)]
Importance = Annotated[int, Meta(ge=1, le=MAX_IMPORTANCE)]


class FactOrigin(StrEnum):
    """Who said that this is to be remembered."""

    #: a person, over the API or the command line
    PERSON = "person"
    #: an agent, with its tool
    AGENT = "agent"
    #: what was kept of a conversation before older parts of it were packed away
    FLUSH = "flush"
    #: an agent in a session that something from outside has started; nobody has confirmed it
    OUTSIDE = "outside"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be remembered."""

    text: Text = ""
    #: what it is about, and which property of that it tells; both or none
    entity: Name = ""
    key: Name = ""
    value: Value = ""
    category: Category = ""
    importance: Importance = USUAL_IMPORTANCE
    expires_at: int | None = None
    origin: FactOrigin = FactOrigin.AGENT
    #: in which session it was said
    source: SessionId | None = None

    def problem(self) -> str:
        """Say why this is nothing to remember; empty if it is."""
        if bool(self.entity.strip()) != bool(self.key.strip()):
            return "entity and key belong together"
        if self.value and not self.key:
            return "a value needs an entity and a key"
        return "" if self.content.strip() else "there is nothing to remember: text is empty"

    @property
    def content(self) -> str:
        """The text; one that has none is made of entity, key and value."""
        return self.text if self.text.strip() or not self.key else f"{self.entity} {self.key}: {self.value}"

    @property
    def digest(self) -> bytes:
        """The same for texts that differ in case, width or blanks alone."""
        return _digest(self.content)

    @property
    def place(self) -> bytes | None:
        """The same for facts about the same property of the same entity; None for a fact that names none."""
        return _digest(self.entity, self.key) if self.key else None


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an agent remembers."""

    #: rises within the facts of an agent
    number: int
    id: FactId
    agent: str
    text: str
    entity: str
    key: str
    value: str
    category: str
    importance: int
    origin: FactOrigin
    #: None once the session is deleted, and where no session has said it
    source: SessionId | None
    created_at: int
    updated_at: int
    used_at: int
    expires_at: int | None

    def merit(self, now: int) -> float:
        """Return what it is worth now, from 0 to 1."""
        age_ms = max(0, now - self.used_at)
        return self.importance / MAX_IMPORTANCE * 2 ** -(age_ms / HALF_LIFE_MS)


class Kept(StrEnum):
    """What became of a note."""

    NEW = "new"
    #: the very same was known; it counts as used now
    KNOWN = "known"
    #: another value of the same entity and key was known; it is gone
    REPLACED = "replaced"


def worth(importance: int, used_at: int, origin: FactOrigin = FactOrigin.AGENT) -> float:
    """Return the order of a fact among others: the lowest is the least valuable, at any time.

    What comes from outside makes room before anything that was used within `OUTSIDE_HALF_LIVES`.
    """
    handicap = OUTSIDE_HALF_LIVES if origin is FactOrigin.OUTSIDE else 0
    return math.log2(importance) + used_at / HALF_LIFE_MS - handicap


def sizes(note: Note) -> int:
    """Return the bytes that are counted for a fact."""
    return sum(len(part.encode()) for part in (note.content, note.entity, note.key, note.value))


def columns(note: Note) -> Mapping[str, str]:
    """Return what is searched in."""
    return {"text": note.content, "entity": note.entity, "key": note.key, "value": note.value}


def _digest(*parts: str) -> bytes:
    plain = "\0".join(" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts)
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()
