"""What a person does with a conversation besides talking: compact it, begin afresh, branch off."""

import asyncio
from contextlib import aclosing
from typing import NamedTuple

from tidegate.bounded import Registry
from tidegate.domain.entry import Notice, User
from tidegate.domain.run import Lane, Origin, Run, RunState
from tidegate.domain.session import Outcome, PolicyName, Session, State
from tidegate.errors import BadRequest, CompactionFailed, LimitReached, SessionNotFound, WrongState
from tidegate.ids import SessionId
from tidegate.runtime import mover
from tidegate.runtime.command import Command, command
from tidegate.runtime.intake import Intake
from tidegate.store.admission import Admission, Birth
from tidegate.store.context import Renewed
from tidegate.store.port import Store

MAX_ASKED = 1_000  # conversations that somebody waits for to be compacted
SHARED_BYTES = 4 << 20  # of a transcript that a fork shares


class Compacted(NamedTuple):
    """A conversation after it was asked to be compacted; not done while a person is waited for in it."""

    session: Session
    is_done: bool
    #: whether there was anything to gain
    has_summary: bool = False


class Forked(NamedTuple):
    """A new chat, and the run of its first message if it has got one."""

    session: Session
    run: Run | None


class Conversations:
    """Carries out what is asked of conversations."""

    def __init__(self, store: Store, intake: Intake, registry: Registry) -> None:
        self._store = store
        self._intake = intake
        #: the run that compacts each conversation, as long as somebody waits for it, or it for a person
        self._asked: dict[SessionId, Run] = {}
        self._admitting = asyncio.Lock()
        registry.add(
            "compactions_asked", lambda: len(self._asked), MAX_ASKED, when_full="a request is refused"
        )

    async def compact(self, session: Session) -> Compacted:
        """Compact a conversation in a turn of its own and wait for that; who asks meanwhile shares it.

        Raises:
            WrongState: It is no conversation, or archived.
            CompactionFailed: It failed; everything is as it was.
            SessionNotFound: It has gone meanwhile.
            Refused, Unavailable: What the intake refuses.
        """
        _check_conversation(session)
        if session.state is State.ARCHIVED:
            raise WrongState(f"session {session.key!r} is archived", hint="restore it first")
        async with self._admitting:
            run = self._open(session.id) or await self._begin(session)
            self._asked[session.id] = run
        try:
            await self._until_done_or_held(run)
        finally:
            if self._asked.get(session.id) is run and not self._is_held(run):
                del self._asked[session.id]
        return await self._judged(run)

    async def renew(self, session: Session) -> Renewed:
        """Let a conversation begin afresh; the one before gets a key of its own and is archived if nothing runs in it.

        Raises:
            WrongState: It is no conversation.
            SessionNotFound: It has gone meanwhile.
            TooManySessions: `max_running` is reached.
        """
        renewed = await self._store.renew(session.id, session.key)
        if renewed.former is not None:
            await mover.retire(self._store, renewed.former.id)
        return renewed

    async def fork(self, session: Session, before: int, key: str | None, text: str | None) -> Forked:
        """Make a chat that shares what was said before an entry, and go on there with *text*.

        Raises:
            WrongState: It is no conversation.
            BadRequest: There is no such entry, or the message would begin afresh.
            SessionExists: The key is taken.
            Refused, Unavailable: What the intake refuses.
        """
        _check_conversation(session)
        if text is not None and command(text) is Command.NEW:
            raise BadRequest(
                "/new would leave what the new chat shares", hint="send another message, or none"
            )
        excerpt = await self._store.excerpt(session.id, before, SHARED_BYTES)
        if text is None:
            return Forked(await self._store.fork(key, excerpt), None)
        admitted = await self._intake.submit(
            Admission(
                key=key,
                birth=Birth(policy=PolicyName.CHAT, agent=session.agent),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[User(text=text)],
                excerpt=excerpt,
            )
        )
        return Forked(admitted.session, admitted.run)

    def _open(self, session: SessionId) -> Run | None:
        """Return the run that is to compact a conversation, unless it has ended."""
        run = self._asked.get(session)
        found = self._store.run(run.id) if run else None
        return None if found is None or found.state is RunState.DONE else run

    async def _begin(self, session: Session) -> Run:
        if len(self._asked) >= MAX_ASKED:
            self._asked = {name: run for name, run in self._asked.items() if self._open(name)}
        if len(self._asked) >= MAX_ASKED:
            raise LimitReached(f"{MAX_ASKED} conversations are being compacted", retry_after_s=10)
        admitted = await self._intake.submit(
            Admission(
                key=session.key,
                only=session.id,
                birth=Birth(policy=session.policy, agent=session.agent),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[Notice(text="A summary of what is older was asked for.", command=Command.COMPACT)],
                interrupts=False,
            )
        )
        return admitted.run

    async def _until_done_or_held(self, run: Run) -> None:
        """Wait for the end of a run; not for a person whom the run before it waits for."""
        async with aclosing(self._intake.follow(run)) as events:
            while not self._is_held(run):
                if await anext(events, None) is None:
                    return

    def _is_held(self, run: Run) -> bool:
        found, head = self._store.run(run.id), self._store.session_by_id(run.session)
        if found is None or head is None or found.state is not RunState.QUEUED:
            return False
        return head.waiting_at is not None

    async def _judged(self, run: Run) -> Compacted:
        found, head = self._store.run(run.id), self._store.session_by_id(run.session)
        if found is None or head is None:
            raise SessionNotFound("the session has gone meanwhile")
        if found.state is not RunState.DONE:
            return Compacted(head, is_done=False)
        if found.outcome is not Outcome.OK:
            raise CompactionFailed(found.error or f"the compaction was {found.outcome}")
        return Compacted(head, is_done=True, has_summary=await self._has_summary(head, run))

    async def _has_summary(self, head: Session, run: Run) -> bool:
        """Whether the latest summary of a conversation is one that a run has made."""
        after = (head.summary_seq or 1) - 1
        latest = await self._store.entries(head.id, after, 1) if head.summary_seq else ()
        return any(entry.body.run == run.id for entry in latest)


def _check_conversation(session: Session) -> None:
    if not session.policy.is_conversation:
        raise WrongState(
            f"session {session.key!r} is no conversation",
            hint="chats and named api sessions are conversations",
        )
