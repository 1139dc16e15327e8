"""The ground on which random lives are led: a real store, the real sweeper, a manual clock and the ledger."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from audit import Audit
from house import SqliteHouse
from ledger import Ledger
from tidegate.clock import MINUTE_MS
from tidegate.domain.approval import Approval, ApprovalState
from tidegate.domain.policy import next_step
from tidegate.domain.run import Lease
from tidegate.domain.session import DueTo, PolicyName, Session, State
from tidegate.errors import FenceLost
from tidegate.ids import SessionId
from tidegate.runtime.sweeper import Sweeper
from work import offered, say

T = TypeVar("T")

MEMORY = Path("/dev/shm")  # noqa: S108 - thousands of commits need no disk; mkdtemp makes a folder of its own


class Living(RuleBasedStateMachine):
    """A gateway's store from start to start, and what it has promised."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.house = SqliteHouse(self.root)
        self.ledger = Ledger()
        self.count = 0
        self.skills = offered({"one": "a"})
        self.has_stepped_back = False
        self.do(self.house.open())
        self.enter()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for one operation."""
        return self.runner.run(work)

    def enter(self) -> None:
        """Start on an open store as the gateway does."""
        self.clock, self.store = self.house.clock, self.house.store
        self.audit = Audit(self.house.folder)
        self.sweeper = Sweeper(self.store, self.clock, self.house.policies, MINUTE_MS)
        self.held_until: int | None = None
        assert self.do(self.store.recover()) == self.ledger.recovered()
        self.do(self.sweeper.redate())

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.audit.close()
        self.do(self.house.close())
        self.runner.close()
        shutil.rmtree(self.root)

    def session(self, number: int) -> Session:
        """Return one of the sessions that are there."""
        return pick(sorted(self.audit.heads().values(), key=lambda session: session.created_at), number)

    def parent(self, number: int) -> SessionId | None:
        """Return one of the sessions that may have children, or nobody."""
        heads = self.audit.heads().values()
        found = [session.id for session in heads if session.is_live or session.policy.is_conversation]
        return pick([None, *found], number)

    def is_full(self, name: PolicyName) -> bool:
        """Whether as many sessions of a policy live as may."""
        live = sum(session.policy is name and session.is_live for session in self.audit.heads().values())
        return live >= (self.house.policies[name].max_running or 1 << 30)

    def lease(self, number: int) -> Lease:
        """Return one of the leases that are good."""
        return pick(self.ledger.running(), number)

    def can_write(self, lease: Lease) -> bool:
        """Whether somebody with this lease may write."""
        try:
            self.do(say(self.store, lease, "late"))
        except FenceLost:
            return False
        return True

    def pending(self) -> list[Approval]:
        """Return what waits for a person's word; not in the order of ids, which differ from run to run."""
        found = self.do(
            self.store.approvals(state=ApprovalState.PENDING, session=None, before=None, limit=1_000)
        )
        return sorted(found, key=lambda approval: int(approval.question.call_id))

    def follow(self) -> None:
        """Note what the last operation has ended."""
        self.ledger.settle(self.store)
        self.ledger.decided({approval.run for approval in self.pending()})
        self.ledger.follow(self.store)

    def has_sessions(self) -> bool:
        """Whether there is any session."""
        return bool(self.ledger.transcripts)

    def has_running(self) -> bool:
        """Whether anything runs."""
        return bool(self.ledger.running())

    def check_swept(
        self, session: Session, before: dict[str, Session], after: dict[str, Session], *, is_held: bool
    ) -> None:
        """See what a sweep may not do (I5)."""
        if session.pinned:
            assert session.id in after
            assert (after[session.id].state is State.ARCHIVED) == (session.state is State.ARCHIVED)
        if session.policy is PolicyName.CHAT:
            assert session.id in after
        line: list[Session] = [session]
        while line[-1].parent:
            line.append(before[line[-1].parent])
        steps = [next_step(one, self.house.policies[one.policy]) for one in line if one.is_live]
        is_due = any(
            step.due_to is DueTo.COMPLETED and (step.due_at or 0) <= self.clock.now() for step in steps
        )
        if is_held and session.turn_at is not None and not is_due:
            assert after[session.id].turn_at is not None


def pick(items: Sequence[T], number: int) -> T:
    """Return one of some items."""
    return items[number % len(items)]
