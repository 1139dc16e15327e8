"""Keeps what a loop decides, under the fence of its run."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from tidegate import log
from tidegate.agent.loop import Agent
from tidegate.agent.model import Delta
from tidegate.agent.tools import Caller
from tidegate.domain.approval import Question, Verdict
from tidegate.domain.compaction import Reason
from tidegate.domain.entry import Assistant, Body, Call, opaque_of
from tidegate.domain.run import Lease, Run, Step
from tidegate.errors import CompactionFailed, LimitReached, Unavailable
from tidegate.redaction import Flow
from tidegate.runtime.bus import Bus, Piece
from tidegate.runtime.compaction import Compactor
from tidegate.runtime.context import history
from tidegate.store.port import Store

T = TypeVar("T")

MAX_PIECE_CHARS = 16 << 10  # are looked through for secrets in 2 ms, and in 20 ms where those are thousands
RETRY_S = 1.0  # between two tries to write to a full or busy disk

_log = log.get("journal")


class RunJournal:
    """The journal of one run."""

    def __init__(self, store: Store, bus: Bus, compactor: Compactor, agent: Agent, run: Run) -> None:
        self.caller = Caller(session=run.session, run=run.id, agent=agent.name, fence=run.fence)
        #: says whether the run has to wait for better times before the model is asked again
        self.has_to_wait: Callable[[], bool] = _never
        self._store = store
        self._bus = bus
        self._compactor = compactor
        self._agent = agent
        self._run = run
        self._heard = 0
        #: the pieces of the answer in the making; a model may say 4 million characters at most
        self._pieces: list[str] = []
        self._flow = Flow(store.redaction)
        #: whether the answer in the making is shown
        self._is_shown = True
        self._has_given_up = False

    @property
    def lease(self) -> Lease:
        """The right to write to the run."""
        return self._run.lease

    async def keep(self, step: Step) -> Sequence[Body]:
        """Append a step; on a full disk, wait until it can be."""
        entries = await until_written(lambda: self._store.append(self._run.lease, step))
        self._heard = 0
        self._pieces = []
        self._flow = Flow(self._store.redaction)
        self._is_shown = True
        return [_as_said(entry.body, body) for entry, body in zip(entries, step.bodies, strict=True)]

    async def compact(self, reason: Reason) -> Sequence[Body] | None:
        """Let a summary take the place of what is older; where that has failed once, it is left for the next run."""
        if self._has_given_up and reason is Reason.THRESHOLD:
            return None
        try:
            count = await self._compactor.compact(self._agent, self._run.lease, reason)
        except CompactionFailed as error:
            _log.warning("compaction_failed", error=error.message)
            count = 0
        if not count:
            self._has_given_up = True
            return None
        return (await history(self._store, self._run, self._agent.prompt_bytes)).bodies

    @property
    def half_said(self) -> Step | None:
        """What was heard of an answer that does not come to its end; nothing if nothing was."""
        text = "".join(self._pieces)
        return Step(bodies=[Assistant(text=text, is_partial=True)]) if text.strip() else None

    async def verdict(self, question: Question, *, is_new: bool) -> Verdict:
        """Ask the store what a person has said."""
        return await until_written(lambda: self._store.verdict(self._run.lease, question, is_new=is_new))

    def hear(self, delta: Delta) -> None:
        """Show a piece of the answer to whoever is there; behind one that is no piece all comes with the entry."""
        self._pieces.append(delta.text)
        self._is_shown &= len(delta.text) <= MAX_PIECE_CHARS
        if not self._is_shown:
            return
        text = self._flow.through(delta.text)
        if text:
            self._bus.publish(self._run.session, Piece(run=self._run.id, at=self._heard, text=text))
            self._heard += len(text)


def _never() -> bool:
    return False


async def until_written(write: Callable[[], Awaitable[T]]) -> T:
    """Repeat a write as long as the store can only not take it now; a run's deadline ends this."""
    while True:
        try:
            return await write()
        except LimitReached:
            raise
        except Unavailable as error:
            _log.warning("write_postponed", error=str(error))
            await asyncio.sleep(RETRY_S)


def _as_said(kept: Body, said: Body) -> Body:
    """Return a body as it was kept, but with all that a model said itself, so that it reads that whole."""
    if not isinstance(kept, Assistant | Call) or not (kept.blob or kept.opaque_blob):
        return kept
    return msgspec.structs.replace(kept, text=said.text, blob=None, opaque=opaque_of(said), opaque_blob=None)
