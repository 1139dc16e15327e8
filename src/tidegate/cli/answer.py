"""What the gateway answers: the shapes, as far as the command line reads them."""

from typing import NamedTuple, NotRequired, TypedDict

Json = dict[str, object]


class Session(TypedDict):
    """The head of a session, as far as people see it."""

    id: str
    key: str
    kind: str
    state: str
    outcome: str | None
    parent: str | None
    agent: str
    title: str
    created_at: str
    due_at: str | None
    due_to: str | None
    entries: int
    bytes: int
    pinned: bool


class Blob(TypedDict):
    """Where the whole text of an entry is."""

    hash: str
    bytes: int


class Entry(TypedDict):
    """An entry of a transcript."""

    seq: int
    type: str
    role: str
    text: str
    tool: str | None
    call_id: str | None
    is_error: bool
    run: str | None
    created_at: str
    bytes: int
    blob: Blob | None


class Run(TypedDict):
    """A run, as far as a conversation needs it."""

    id: str
    session: str
    state: str
    outcome: str | None
    error: str


class Fact(TypedDict):
    """What an agent remembers."""

    id: str
    agent: str
    text: str
    importance: int
    origin: str
    #: the key of the session that has said it
    source: str | None
    updated_at: str


class Approval(TypedDict):
    """A call that a person decides on."""

    id: str
    #: None where the call is always allowed
    session: str | None
    run: str | None
    agent: str
    tool: str
    #: JSON, as the model wrote it
    arguments: str
    state: str
    created_at: str
    expires_at: str | None
    decided_at: str | None


class Job(TypedDict):
    """A job, as far as people see it."""

    name: str
    at: NotRequired[str]
    every: NotRequired[str]
    cron: NotRequired[str]
    timezone: str
    agent: str
    session: str
    deliver: str
    origin: str
    paused: bool
    next_at: str | None
    failures: int
    #: why it is put aside, if it is
    problem: str | None


class Firing(TypedDict):
    """What became of an instant of a job."""

    instant: str
    outcome: str
    count: int
    asked: bool
    session: str | None
    open: bool
    result: str | None
    note: str


class Event(NamedTuple):
    """A server-sent event; a sign of life has no name, and what is not durable no id."""

    name: str
    data: Json
    id: str = ""
