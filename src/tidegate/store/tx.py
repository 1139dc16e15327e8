"""What a transaction may do, whichever database runs it.

The transactions of this package are plain functions over a `Tx`: they run on the writer's thread, inside a database
transaction that somebody else opens and commits. What they change is noted in `Effects`, which reach the rest of the
house only after the commit: durable first, visible second.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from tidegate.domain.entry import Entry
from tidegate.domain.event import Audience, Event
from tidegate.domain.job import FiringOutcome
from tidegate.domain.policy import Policies
from tidegate.domain.run import Lane, Run
from tidegate.domain.session import PolicyName, Session
from tidegate.ids import SessionId
from tidegate.store.rows import Row, Value

if TYPE_CHECKING:  # which knows what a transaction is
    from tidegate.store.admission import Claimed

T = TypeVar("T")


class Transition(NamedTuple):
    """A move of a session from one state to another; all three are closed sets."""

    before: str
    after: str
    reason: str


class Spent(NamedTuple):
    """What one answer has cost; costs are micro-dollars, and answers whose cost nobody knows."""

    #: in UTC
    day: str
    agent: str
    model: str
    cost: tuple[int, int]
    #: of the agent with this model, on this day so far
    total: tuple[int, int]
    #: the job that it belongs to, and what that has cost on this day so far
    job: str | None
    job_micros: int


class Effects:
    """What one committed transaction changed."""

    __slots__ = (
        "born",
        "claimed",
        "closed",
        "entries",
        "events",
        "firings",
        "gone",
        "heads",
        "is_about_jobs",
        "posted",
        "queued",
        "renamed",
        "spent",
        "transitions",
        "waiting",
    )

    def __init__(self) -> None:
        #: new heads of sessions by key, None for a deleted one
        self.heads: dict[str, Session | None] = {}
        self.gone: list[SessionId] = []
        #: sessions whose key has gone to another one
        self.renamed: list[SessionId] = []
        self.entries: list[Entry] = []
        #: runs that were claimed as they were admitted; whoever asked for that carries them out
        self.claimed: list[Claimed] = []
        self.closed: list[Run] = []
        #: runs that now wait for a person
        self.waiting: list[Run] = []
        #: lanes with new work
        self.queued: set[Lane] = set()
        #: webhooks that there is something new for
        self.posted: set[str] = set()
        #: what answers have cost
        self.spent: list[Spent] = []
        self.transitions: Counter[Transition] = Counter()
        #: new sessions
        self.born: Counter[PolicyName] = Counter()
        #: what became of instants of jobs
        self.firings: Counter[FiringOutcome] = Counter()
        #: what plugins are told
        self.events: list[Event] = []
        #: the dates of jobs have changed
        self.is_about_jobs = False


class Reads(Protocol):
    """Named queries that only read."""

    def one(self, query: str, **values: Value) -> Row | None:
        """Return the first row of a named query."""

    def all(self, query: str, **values: Value) -> list[Row]:
        """Return every row of a named query."""


class Read(Protocol):
    """How a store reads for somebody who stands outside."""

    def __call__(self, operation: Callable[[Reads], T], /) -> Awaitable[T]:
        """Read over one state of the database."""


class Tx(Reads, Protocol):
    """A transaction under way."""

    @property
    def now(self) -> int:
        """The instant of this transaction: one for all it does."""

    @property
    def policies(self) -> Policies:
        """The policy of each kind."""

    @property
    def audience(self) -> Audience:
        """Who is told what."""

    @property
    def effects(self) -> Effects:
        """What has changed so far."""

    def run(self, query: str, **values: Value) -> int:
        """Carry out a named query and return how many rows it changed."""


class Write(Protocol):
    """How a store carries out a transaction for somebody who stands outside."""

    def __call__(
        self, operation: Callable[[Tx], T], /, *, size: int = 0, is_background: bool = False
    ) -> Awaitable[T]:
        """Carry it out durably; it brings so many bytes, and nobody waits for what is in the background."""
