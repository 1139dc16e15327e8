"""Asks a conversation for what is worth remembering, before older entries of it are packed away.

Called with the last entry that goes, on every path that packs some away. One request to the agent's own model, a
bounded part of the conversation, a bounded answer; what persons and the agent have said, not what tools have answered,
lest a page that was read becomes a memory, nor what a webhook has brought about. Each entry is asked about once: how
far a session was asked is stored with the facts. What fails here is logged and keeps nothing from happening.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from tidegate import log
from tidegate.agent import distillation
from tidegate.agent.loop import Agent
from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.domain.entry import Assistant, Body, Entry, Summary, User
from tidegate.domain.fact import FactOrigin
from tidegate.domain.run import Origin, Usage
from tidegate.domain.session import Kind, Session
from tidegate.errors import ModelFailed
from tidegate.faults import Area
from tidegate.ids import SessionId
from tidegate.runtime.memory import Memory
from tidegate.store.facts import Flushed
from tidegate.store.port import Store

TOOL = "remember"
PAGE = 200
MAX_PART_BYTES = 200_000  # of a conversation, the newest
MAX_ENTRIES = 10_000  # looked at in one request
MAX_SAID_CHARS = 4_000  # of one message
DEADLINE_S = 30.0

_log = log.get("flush")


class Flush:
    """Asks the agents' models; *is_on* False asks nobody."""

    def __init__(
        self, store: Store, memory: Memory, agents: Mapping[str, Agent], *, is_on: bool = True
    ) -> None:
        #: how often a model did not say what to remember, since the start
        self.failed = 0
        self._store = store
        self._memory = memory
        self._agents = agents
        self._is_on = is_on

    async def __call__(self, session: SessionId, agent: str, last_seq: int) -> None:
        """Keep what is worth remembering up to an entry; idempotent for each entry."""
        asked, head = self._agents.get(agent), self._store.session_by_id(session)
        if not self._is_on or asked is None or head is None or not self._may_remember(head, asked):
            return
        # behind what was asked about, so that what was left out while a request rested, or failed, comes with the next
        flushed = await self._store.facts.flushed_through(session)
        first_seq = max(flushed, last_seq - MAX_ENTRIES) + 1
        if first_seq > last_seq or await self._store.rests(Area.MEMORY, session):
            return
        part = await self._part(session, first_seq, last_seq, min(MAX_PART_BYTES, asked.prompt_bytes // 2))
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await _ask(asked, part) if part else Answer(text="")
        except (ModelFailed, TimeoutError) as error:
            self.failed += 1
            told = str(error) or "it took too long"
            _log.warning("flush_failed", session=session, error=told)
            await self._store.rest(Area.MEMORY, session, told)
            return
        notes = [msgspec.structs.replace(note, source=session) for note in distillation.notes(answer.text)]
        kept = await self._store.facts.flush(
            Flushed(
                session=session,
                through=last_seq,
                agent=agent,
                notes=notes,
                model=answer.model or asked.model.name,
                usage=answer.usage,
            )
        )
        await self._store.works(Area.MEMORY, session)
        self._memory.ring()
        _log.info("flushed", session=session, through=last_seq, facts=kept)

    def _may_remember(self, head: Session, agent: Agent) -> bool:
        """Whether the agent may remember here: not in what came from outside, nor in a job that only reads."""
        rights = self._store.job_rights(head.id, None) if head.kind is Kind.CRON else None
        is_allowed = rights is None or rights.tools is None or TOOL in rights.tools
        is_inside = self._memory.origin(head.id) is not FactOrigin.OUTSIDE
        return is_allowed and is_inside and TOOL in agent.tools.names

    async def _part(self, session: SessionId, first_seq: int, last_seq: int, max_bytes: int) -> str:
        """Return what was said in a range of entries, page by page; of more than fits, the end."""
        said: deque[str] = deque()
        size, after = 0, first_seq - 1
        while after < last_seq and (page := await self._store.entries(session, after, PAGE)):
            after = page[-1].seq
            for text in _said([entry for entry in page if self._is_inside(entry.body)], last_seq):
                said.append(text)
                size += len(text.encode())
                while size > max_bytes and said:
                    size -= len(said.popleft().encode())
        return "\n".join(said)

    def _is_inside(self, body: Body) -> bool:
        """Whether something was said in a run that no webhook has started."""
        run = self._store.run(body.run) if body.run else None
        return run is None or run.origin is not Origin.HOOK


def _said(page: Sequence[Entry], last_seq: int) -> list[str]:
    told = [(_speaker(entry.body), entry.body.text) for entry in page if entry.seq <= last_seq]
    return [f"[{speaker}]\n{text[:MAX_SAID_CHARS]}" for speaker, text in told if speaker and text]


def _speaker(body: Body) -> str:
    match body:
        case User():
            return "user"
        case Assistant():
            return "agent"
        case Summary():
            return "summary"
        case _:
            return ""


async def _ask(agent: Agent, part: str) -> Answer:
    """Return what the model wants remembered; one that does not stop is stopped."""
    prompt = Prompt(instructions=distillation.INSTRUCTIONS, bodies=[User(text=part)])
    heard = ""
    async with aclosing(agent.model.stream(prompt)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answer):
                return piece
            if isinstance(piece, Delta):
                heard += piece.text
            if len(heard) > distillation.MAX_ANSWER_CHARS:
                break
    return Answer(text=heard, usage=Usage(unpriced=1))
