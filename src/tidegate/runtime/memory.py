"""What agents remember: kept, found again, and told in prompts, never more than asked for.

Facts are looked for by their words and, where a model for that is configured, by their meaning; when that model does
not answer soon, by their words alone. What a session that something from outside has started wants remembered is marked
so, changes nothing that others have said, and is not told in prompts.
"""

import asyncio
from collections.abc import Sequence

from tidegate import log
from tidegate.agent import reminder
from tidegate.agent.measure import BYTES_PER_TOKEN
from tidegate.clock import HOUR_MS, Clock
from tidegate.domain import relevance
from tidegate.domain.fact import Fact, FactOrigin, Note
from tidegate.domain.session import Kind
from tidegate.errors import BadRequest, ModelBusy, ModelFailed, Unavailable
from tidegate.faults import Area, Faults
from tidegate.ids import FactId, SessionId
from tidegate.runtime.bell import ring_or
from tidegate.runtime.meaning import Meaning
from tidegate.runtime.text import check_text
from tidegate.store.facts import Remembered
from tidegate.store.port import Store
from tidegate.store.recall import Question

TOLD = 24  # facts that are looked at for a prompt, by the message and again by worth
USED_AGAIN_MS = HOUR_MS  # a fact that was used within this is not noted as used again
QUESTION_S = 2.0  # for the meaning of a question
TRY_AGAIN_S = 60.0
LOOK_S = 600.0

_log = log.get("memory")


class Memory:
    """The memory of every agent of a gateway."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        prompt_tokens: int = 800,
        meaning: Meaning | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._prompt_tokens = prompt_tokens
        self._meaning = meaning
        self._faults = faults or Faults(clock)
        self._bell = asyncio.Event()

    async def remember(self, agent: str, note: Note) -> Remembered:
        """Keep a note.

        Raises:
            BadRequest: There is nothing in it, or half of something.
            BadText: It cannot be stored.
            FactRefused: It comes from outside and would replace what does not.
        """
        problem = note.problem()
        if problem:
            raise BadRequest(problem)
        for part in (note.text, note.entity, note.key, note.value, note.category):
            check_text(part)
        if note.expires_at is not None and note.expires_at <= self._clock.now():
            raise BadRequest("it would have expired already")
        kept = await self._store.facts.remember(agent, note)
        self.ring()
        return kept

    async def search(self, agent: str, text: str, limit: int) -> Sequence[Fact]:
        """Return what an agent remembers that answers a question, best first."""
        return await self._search(agent, text, limit, with_outside=True)

    async def recall(self, agent: str, text: str, limit: int) -> Sequence[Fact]:
        """Search, and note that what was found was of use; on a full disk the note is left out."""
        found = await self.search(agent, text, limit)
        before = self._clock.now() - USED_AGAIN_MS
        idle = [fact.id for fact in found if fact.used_at < before]
        try:
            if idle:
                await self._store.facts.use(idle)
        except Unavailable as error:
            _log.warning("use_not_noted", error=error.message)
        return found

    async def forget(self, fact: FactId, *, agent: str | None = None, is_outside: bool = False) -> Fact:
        """Take a fact away, of one agent or of any, and return it as it was.

        Raises:
            FactNotFound: There is none.
            FactRefused: Somebody outside wants it gone.
        """
        return await self._store.facts.forget(fact, agent=agent, is_outside=is_outside)

    def ring(self) -> None:
        """Say that there are new facts."""
        self._bell.set()

    async def told(self, session: SessionId, question: str, max_bytes: int) -> str:
        """Tell a model what its agent remembers that is of use for a message, or is important."""
        max_bytes = min(max_bytes, self._prompt_tokens * BYTES_PER_TOKEN)
        head = self._store.session_by_id(session)
        if head is None or not max_bytes or not self._store.facts.held(head.agent):
            return ""
        found = await self._search(head.agent, question, TOLD, with_outside=False)
        valuable = await self._store.facts.worthiest(head.agent, self._clock.now(), TOLD)
        return reminder.tell([*found, *valuable], max_bytes)

    def origin(self, session: SessionId) -> FactOrigin:
        """Return who speaks where an agent of a session wants something remembered."""
        head = self._store.session_by_id(session)
        while head is not None and head.kind is Kind.SUBAGENT and head.parent is not None:
            head = self._store.session_by_id(head.parent)
        is_trusted = head is not None and head.kind is not Kind.HOOK
        return FactOrigin.AGENT if is_trusted else FactOrigin.OUTSIDE

    async def serve(self) -> None:
        """Learn what facts mean, for ever, as they come, where there is a model for that."""
        while self._meaning is not None:
            self._bell.clear()
            with self._faults.turn(Area.MEMORY) as turn:
                await self._learn(self._meaning)
            if turn.error is not None:
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                await ring_or(self._bell, LOOK_S)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to learn."""
        return self._meaning is not None

    async def _learn(self, meaning: Meaning) -> None:
        after = 0
        while page := await self._store.facts.without_vector(meaning.model, after):
            found = await _vectors(meaning, page)
            await self._store.facts.keep_vectors(meaning.model, found)
            after = page[-1].number

    async def _search(self, agent: str, text: str, limit: int, *, with_outside: bool) -> list[Fact]:
        vector = await self._vector(text)
        question = Question(
            agent=agent,
            text=text,
            now=self._clock.now(),
            limit=limit,
            model=self._meaning.model if self._meaning else "",
            vector=vector,
            with_outside=with_outside,
        )
        return await self._store.facts.search(question)

    async def _vector(self, text: str) -> bytes:
        """Return what a question means; nothing where that cannot be told soon."""
        if self._meaning is None or not text.strip():
            return b""
        try:
            async with asyncio.timeout(QUESTION_S):
                (vector,) = await self._meaning.of([text[: relevance.MAX_QUERY_CHARS]])
        except (ModelFailed, TimeoutError) as error:
            _log.info("meaning_of_question_unknown", error=str(error))
            return b""
        return vector


async def _vectors(meaning: Meaning, page: Sequence[Fact]) -> list[tuple[Fact, bytes]]:
    """Return what some facts mean; where the model takes them not together, those that it takes one by one.

    Raises:
        ModelFailed: It takes none of several.
    """
    try:
        return list(zip(page, await meaning.of([fact.text for fact in page]), strict=True))
    except ModelBusy:
        raise
    except ModelFailed as error:
        _log.warning("meaning_refused", facts=len(page), error=error.message)
        if len(page) == 1:
            return []
        found = [(fact, vector) for fact in page if (vector := await _alone(meaning, fact)) is not None]
        if not found:
            raise
        return found


async def _alone(meaning: Meaning, fact: Fact) -> bytes | None:
    try:
        return (await meaning.of([fact.text]))[0]
    except ModelBusy:
        raise
    except ModelFailed:
        return None
