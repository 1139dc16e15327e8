"""What is taken while something is short: memory, disk or money.

Each instrument says how hard it grips, on everyone or on whom it is about; the guard adds that up. It is asked at the
door (`Intake`), before a claim and between two steps of a run (`Runner`), and before jobs are looked at (`Cron`). It
waits for nothing and writes nothing.

A person's message to a chat is the last thing that is refused: only `Grip.WRITES` does that, and memory never grips so
hard (invariant I12).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Flag, StrEnum, auto
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tidegate import log
from tidegate.domain.level import Level
from tidegate.domain.run import Lane
from tidegate.domain.session import PolicyName, Session
from tidegate.errors import DiskBudget, DiskShort, MemoryShort, Short, SpendShort, Unavailable
from tidegate.store.admission import Admission
from tidegate.store.port import Store
from tidegate.store.usage import JOB_GROUP

_log = log.get("guard")


class Reason(StrEnum):
    """What can be short."""

    MEMORY = "memory"
    DISK = "disk"
    SPEND = "spend"


class Grip(Flag):
    """What is held back."""

    NOTHING = 0
    #: new ephemeral sessions are refused (429)
    BIRTHS = auto()
    #: runs of jobs, hooks and sub-agents wait; those under way, before their next step. None is taken into a chat (429)
    BACKGROUND = auto()
    #: nothing new is taken, from nobody (507)
    WRITES = auto()


class Work(NamedTuple):
    """A piece of work, as far as it matters here."""

    agent: str
    lane: Lane
    policy: PolicyName
    #: the job that it belongs to, or the session at the top of its tree
    job: str | None = None
    #: it would make a new session
    is_birth: bool = False

    @property
    def is_background(self) -> bool:
        """Whether it is the work of a job, a hook or a sub-agent."""
        return self.lane is not Lane.INTERACTIVE

    @property
    def can_wait(self) -> bool:
        """Whether its run may be parked: in a conversation it would keep the next message of a person waiting."""
        return self.is_background and not self.policy.is_conversation


def job_of(store: Store, session: Session) -> str | None:
    """Return the job that has fired a session, or the one at the top of its tree."""
    top = store.session_by_id(session.root) if session.root else session
    name = (top.cap_group or "") if top else ""
    return name.removeprefix(JOB_GROUP) if name.startswith(JOB_GROUP) else None


def work_of(store: Store, admission: Admission, job: str | None = None) -> Work:
    """Return what matters here of a piece of work at the door; *job* is the one whose run it is, if that is known."""
    birth = admission.birth
    head = store.session(admission.key) if admission.key else None
    above = store.session_by_id(birth.parent) if birth.parent else head
    return Work(
        agent=head.agent if head else birth.agent,
        lane=admission.lane,
        policy=head.policy if head else birth.policy,
        job=job or (job_of(store, above) if above else None),
        is_birth=head is None,
    )


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What an instrument holds back, and what those who are refused are told."""

    grip: Grip
    message: str
    hint: str = ""
    retry_after_s: int = 5
    #: whom it is about; None is everybody
    concerns: Callable[[Work], bool] | None = None

    def holds(self, work: Work) -> bool:
        """Whether it is about this piece of work."""
        return self.concerns is None or self.concerns(work)


SHORT: Mapping[Reason, type[Short]] = MappingProxyType(
    {Reason.MEMORY: MemoryShort, Reason.DISK: DiskShort, Reason.SPEND: SpendShort}
)
#: the codes of its refusals, a closed set
CODES = (*(error.code for error in SHORT.values()), DiskBudget.code)


class Guard:
    """Adds up what the instruments hold back."""

    def __init__(self) -> None:
        #: refusals by their codes
        self.refused = dict.fromkeys(CODES, 0)
        #: called before an answer, so that it rests on what is so now
        self.look: Callable[[], None] = lambda: None
        #: how often each instrument has come to each level
        self.changes: Counter[tuple[Reason, Level]] = Counter()
        self._levels = dict.fromkeys(Reason, Level.NORMAL)
        self._holds: dict[Reason, Sequence[Hold]] = dict.fromkeys(Reason, ())
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* after each change of what is held back."""
        self._listeners.append(listener)

    def set(self, reason: Reason, level: Level, holds: Sequence[Hold] = ()) -> None:
        """Take what an instrument says now, in the place of what it has said; no holds let everything go."""
        if (level, tuple(holds)) == (self._levels[reason], self._holds[reason]):
            return
        if level is not self._levels[reason]:
            _log.warning("level_changed", reason=reason, before=self._levels[reason], now=level)
            self.changes[reason, level] += 1
        self._levels[reason], self._holds[reason] = level, tuple(holds)
        for listener in self._listeners:
            listener()

    def level(self, reason: Reason) -> Level:
        """Return how short something is."""
        return self._levels[reason]

    def grip(self, reason: Reason) -> Grip:
        """Return what something that is short holds back of everybody."""
        return reduce(or_, (hold.grip for hold in self._holds[reason] if not hold.concerns), Grip.NOTHING)

    @property
    def puts_people_first(self) -> bool:
        """Whether background work is refused wherever a person is (invariant I12)."""
        grips = [self.grip(reason) for reason in Reason]
        return all(grip & Grip.BACKGROUND and grip & Grip.BIRTHS for grip in grips if grip & Grip.WRITES)

    def refusal(self, work: Work) -> Unavailable | None:
        """Return the error with which a piece of work is refused now, if it is."""
        self.look()
        for _, hold in self._about(work, Grip.WRITES):
            return DiskBudget(hold.message, hint=hold.hint, retry_after_s=hold.retry_after_s)
        grip = Grip.NOTHING
        if work.is_birth and work.policy is not PolicyName.CHAT:
            grip |= Grip.BIRTHS
        if work.is_background and not work.can_wait:
            grip |= Grip.BACKGROUND
        for reason, hold in self._about(work, grip):
            return SHORT[reason](hold.message, hint=hold.hint, retry_after_s=hold.retry_after_s)
        return None

    def count(self, refusal: Unavailable) -> None:
        """Count a refusal that somebody was given."""
        self.refused[refusal.code] += 1

    def parks(self, work: Work) -> bool:
        """Whether a run has to wait before its next step."""
        return work.can_wait and any(self._about(work, Grip.BACKGROUND))

    @property
    def parks_all(self) -> bool:
        """Whether every run of jobs, hooks and sub-agents has to wait."""
        return self._grips_all(Grip.BACKGROUND | Grip.WRITES)

    @property
    def stops_jobs(self) -> bool:
        """Whether no job is to be fired: what comes due is late, and carried out or missed as each job wants it."""
        return self._grips_all(Grip.BIRTHS | Grip.BACKGROUND | Grip.WRITES)

    def _about(self, work: Work, grip: Grip) -> Iterator[tuple[Reason, Hold]]:
        for reason, holds in self._holds.items():
            for hold in holds:
                if hold.grip & grip and hold.holds(work):
                    yield reason, hold

    def _grips_all(self, grip: Grip) -> bool:
        return any(hold.grip & grip for holds in self._holds.values() for hold in holds if not hold.concerns)
