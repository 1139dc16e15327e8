"""What is said: one durable step of a transcript.

A body is one of a closed, tagged union; its JSON is what the store keeps, what a segment holds line by line and what
an export prints. New kinds may be added and fields may gain defaults; what is stored is never rewritten.

A body above `MAX_BODY_BYTES` is *spilled*: its text goes to a blob and the body keeps a preview.
"""

from enum import StrEnum
from typing import assert_never

import msgspec

from tidegate.ids import BlobHash, RunId, SessionId

MAX_BODY_BYTES = 64 << 10  # encoded; what is larger lies in a blob
MAX_TEXT_BYTES = 64_000  # a text above this is spilled before anybody encodes it
MAX_OPAQUE_BYTES = 16_000  # of a provider's own data that stay beside a text
PREVIEW_CHARS = 2_000


class EntryType(StrEnum):
    """The types of entry that the API shows."""

    MESSAGE = "message"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    SUMMARY = "summary"
    NOTICE = "notice"


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"


class BlobRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where the whole text of a spilled body is."""

    hash: BlobHash
    bytes: int


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """What every body has."""

    #: the instant at which it became durable
    at: int = 0
    run: RunId | None = None
    #: the exact text, or a preview of it when `blob` is set
    text: str = ""
    blob: BlobRef | None = None


class System(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="system", tag_field="t"):
    """Instructions that a request brought along."""


class User(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="user", tag_field="t"):
    """A message from outside."""


class Assistant(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="assistant", tag_field="t"):
    """The text of a model's answer."""

    #: the model broke off here
    is_partial: bool = False
    #: the model reached its output limit here
    is_cut: bool = False
    #: the provider's own data, which goes back to the same model with this answer; never shown.
    opaque: str = ""
    #: where `opaque` is instead if it is large
    opaque_blob: BlobRef | None = None
    #: how many tokens the prompt and this answer had, as the provider counts; 0 where it does not
    tokens: int = 0
    #: the provider did not tell what the answer took; the accounts hold an estimate
    is_estimated: bool = False


class Call(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="call", tag_field="t"):
    """A tool that the model wants called; `text` holds the arguments as JSON."""

    tool: str
    call_id: str
    #: as in `Assistant`, where an answer has no text
    opaque: str = ""
    opaque_blob: BlobRef | None = None
    tokens: int = 0
    is_estimated: bool = False


class Result(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="result", tag_field="t"):
    """What a tool answered."""

    tool: str
    call_id: str
    is_error: bool = False


class Summary(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="summary", tag_field="t"):
    """What stands for older entries: those up to `through`, of which `pinned` are read beside it."""

    through: int = 0
    #: seqs, in order
    pinned: tuple[int, ...] = ()


class Notice(_Body, frozen=True, kw_only=True, omit_defaults=True, tag="notice", tag_field="t"):
    """Something the gateway tells the reader; a model never sees it."""

    #: what a person wants done, where the entry is the prompt of a run
    command: str = ""


Body = System | User | Assistant | Call | Result | Summary | Notice


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A body at its place: `seq` counts from 1 in each session, rises by 1 and is never reused."""

    session: SessionId
    seq: int
    body: Body


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Body] = msgspec.json.Decoder(Body)


def encode(body: Body) -> bytes:
    """Return the stored form of a body: one line of JSON."""
    return _encoder.encode(body)


def decode(data: bytes) -> Body:
    """Read what `encode` wrote."""
    return _decoder.decode(data)


def text_bytes(body: Body) -> int:
    """Return how many bytes the whole text has, wherever it lies."""
    return body.blob.bytes if body.blob else len(body.text.encode())


def opaque_of(body: Body) -> str:
    """Return the provider's own data that lie in a body; empty where there are none, or where they lie in a blob."""
    return body.opaque if isinstance(body, Assistant | Call) else ""


def tokens_of(body: Body) -> int:
    """Return how many tokens the provider has counted up to a body; 0 where it has not."""
    return body.tokens if isinstance(body, Assistant | Call) else 0


def type_of(body: Body) -> EntryType:
    """Return the type under which the API shows a body."""
    match body:
        case System() | User() | Assistant():
            return EntryType.MESSAGE
        case Call():
            return EntryType.TOOL_CALL
        case Result():
            return EntryType.TOOL_RESULT
        case Summary():
            return EntryType.SUMMARY
        case Notice():
            return EntryType.NOTICE
        case _:
            assert_never(body)


def role_of(body: Body) -> Role:
    """Return who speaks in a body."""
    match body:
        case User():
            return Role.USER
        case Assistant() | Call():
            return Role.ASSISTANT
        case Result():
            return Role.TOOL
        case System() | Summary() | Notice():
            return Role.SYSTEM
        case _:
            assert_never(body)
