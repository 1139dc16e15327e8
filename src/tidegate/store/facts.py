"""Facts as rows: remembered, used, forgotten.

An agent has one fact for each text, whatever its case and blanks, and one for each property of an entity: a new value
takes the place of the old one. An agent that has as many as it may loses the least valuable one for each new one. What
comes from outside never changes what was not.
"""

from collections.abc import Collection, Sequence
from functools import partial

import msgspec

from tidegate.domain.fact import Fact, FactOrigin, Kept, Note, columns, sizes, worth
from tidegate.domain.run import Usage
from tidegate.errors import FactNotFound, FactRefused
from tidegate.ids import FactId, SessionId, ulid
from tidegate.redaction import Redaction
from tidegate.store import recall, rows, usage
from tidegate.store.recall import Question
from tidegate.store.tx import Read, Reads, Tx, Write

SLICE = 200  # facts that one transaction of the background takes away or lets go of
VECTORS = 64


class FactRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of facts."""

    #: of one agent
    most: int = 10_000
    #: what a session has said is forgotten with it
    go_with_session: bool = False


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as it is now, and what became of the note; *before* is the text that it took the place of."""

    fact: Fact
    kept: Kept
    before: str = ""


class Flushed(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has found worth keeping in a conversation, up to an entry, and what asking it took."""

    session: SessionId
    through: int
    agent: str
    notes: Sequence[Note]
    model: str
    usage: Usage


def remember(tx: Tx, agent: str, note: Note, rules: FactRules) -> Remembered:
    """Keep a note, in the place of what it repeats or replaces.

    Raises:
        FactRefused: It comes from outside and would replace what does not.
    """
    same = tx.one("fact_by_content", agent=agent, digest=note.digest)
    placed = tx.one("fact_by_place", agent=agent, place=note.place) if note.place else None
    if placed is not None and (same is None or same[0] != placed[0]):
        return _replace(tx, rows.fact(placed), rows.fact(same) if same else None, note)
    if same is not None:
        return _repeat(tx, rows.fact(same), note)
    _make_room(tx, agent, rules.most)
    return Remembered(fact=_born(tx, agent, note), kept=Kept.NEW)


def use(tx: Tx, ids: Collection[FactId]) -> None:
    """Note that some facts were of use now; those that have gone meanwhile are passed over."""
    for name in ids:
        row = tx.one("fact_by_id", id=name)
        if row is not None:
            _used(tx, rows.fact(row))


def forget(tx: Tx, name: FactId, *, agent: str | None = None, is_outside: bool = False) -> Fact:
    """Take a fact away, of one agent or of any, and return it as it was.

    Raises:
        FactNotFound: There is none.
        FactRefused: Somebody outside wants it gone.
    """
    row = tx.one("fact_by_id", id=name)
    if row is None or agent not in {None, row[2]}:
        raise FactNotFound(
            f"there is no fact {name[:80]!r}", hint="`tidegate memory list` shows what there is"
        )
    fact = rows.fact(row)
    if is_outside and fact.origin is not FactOrigin.OUTSIDE:
        raise FactRefused
    tx.run("fact_gone", number=fact.number)
    return fact


def flush(tx: Tx, flushed: Flushed, rules: FactRules) -> int:
    """Keep what was found in a conversation, once; say how many facts are new or changed.

    Idempotent: nothing happens for entries that were dealt with already, or in a session that has gone.
    """
    row = tx.one("flushed_through", session=flushed.session)
    head = tx.one("session_by_id", id=flushed.session)
    if (row and row[0] >= flushed.through) or head is None:
        return 0
    tx.run("flush_kept", session=flushed.session, through=flushed.through)
    if flushed.usage != Usage():
        usage.count(tx, rows.session(head), None, flushed.model, flushed.usage)
    found = [remember(tx, flushed.agent, note, rules) for note in flushed.notes]
    return sum(one.kept is not Kept.KNOWN for one in found)


def let_go(tx: Tx, session: SessionId, rules: FactRules) -> bool:
    """Take away a slice of the facts of a session that is to be deleted, or their source; say whether more are left."""
    if rules.go_with_session:
        return tx.run("facts_forgotten", session=session, limit=SLICE) == SLICE
    return tx.run("facts_detached", session=session, limit=SLICE) == SLICE


def tidy(tx: Tx, rules: FactRules) -> int:
    """Forget a slice of what has expired, and of what an agent has above a limit that was lowered."""
    gone = tx.run("facts_expired", now=tx.now, limit=SLICE)
    crowded = tx.one("facts_crowded", most=rules.most)
    if crowded is not None:
        gone += tx.run("facts_least", agent=crowded[0], excess=min(crowded[1], SLICE))
    return gone


def _replace(tx: Tx, placed: Fact, same: Fact | None, note: Note) -> Remembered:
    """Put a new text or value in the place of the old one; a fact that says the same elsewhere goes."""
    if note.origin is FactOrigin.OUTSIDE and any(
        fact.origin is not FactOrigin.OUTSIDE for fact in (placed, same) if fact
    ):
        raise FactRefused
    if same is not None:
        tx.run("fact_gone", number=same.number)
    return Remembered(fact=_rewritten(tx, placed, note), kept=Kept.REPLACED, before=placed.text)


def _repeat(tx: Tx, same: Fact, note: Note) -> Remembered:
    """What is said again counts as used; a property that it had not named is added."""
    if note.origin is FactOrigin.OUTSIDE and same.origin is not FactOrigin.OUTSIDE:
        return Remembered(fact=same, kept=Kept.KNOWN)
    if note.place is not None and (same.entity, same.key, same.value) != (note.entity, note.key, note.value):
        return Remembered(fact=_rewritten(tx, same, note), kept=Kept.KNOWN)
    origin = note.origin if same.origin is FactOrigin.OUTSIDE else same.origin
    return Remembered(fact=_used(tx, same, note, origin), kept=Kept.KNOWN)


def _used(tx: Tx, fact: Fact, note: Note | None = None, origin: FactOrigin | None = None) -> Fact:
    importance = max(fact.importance, note.importance) if note else fact.importance
    expires_at = note.expires_at if note else fact.expires_at
    origin = origin or fact.origin
    tx.run(
        "fact_used",
        number=fact.number,
        importance=importance,
        origin=origin,
        expires_at=expires_at,
        worth=worth(importance, tx.now, origin),
        now=tx.now,
    )
    return _read(tx, fact.id)


def _rewritten(tx: Tx, fact: Fact, note: Note) -> Fact:
    tx.run("fact_replaced", number=fact.number, **_values(tx, note))
    return _read(tx, fact.id)


def _born(tx: Tx, agent: str, note: Note) -> Fact:
    first = recall.numbers(_agent(tx, agent))
    row = tx.one("fact_number", first=first.start, end=first.stop)
    name = FactId(ulid(tx.now))
    number = row[0] if row else first.start
    tx.run("fact_born", number=number, id=name, agent=agent, **_values(tx, note))
    return _read(tx, name)


def _agent(tx: Tx, name: str) -> int:
    row = tx.one("fact_agent", name=name) or tx.one("fact_agent_born", name=name)
    return int(row[0]) if row else 0


def _make_room(tx: Tx, agent: str, most: int) -> None:
    held = tx.one("facts_held", agent=agent)
    excess = (held[0] if held else 0) - most + 1
    if excess > 0:
        tx.run("facts_least", agent=agent, excess=min(excess, SLICE))


def _read(tx: Tx, name: FactId) -> Fact:
    row = tx.one("fact_by_id", id=name)
    if row is None:
        raise FactNotFound
    return rows.fact(row)


def _values(tx: Tx, note: Note) -> dict[str, rows.Value]:
    return {
        **columns(note),
        "category": note.category,
        "importance": note.importance,
        "origin": note.origin,
        "source": note.source,
        "now": tx.now,
        "expires_at": note.expires_at,
        "digest": note.digest,
        "place": note.place,
        "bytes": sizes(note),
        "worth": worth(note.importance, tx.now, note.origin),
    }


class Facts:
    """The facts of a store, for those who stand outside of a transaction."""

    def __init__(self, write: Write, read: Read, inline: Reads, redaction: Redaction) -> None:
        self._redaction = redaction
        self.rules = FactRules()
        self._write = write
        self._read = read
        self._inline = inline

    def held(self, agent: str) -> int:
        """Return how many facts an agent has."""
        row = self._inline.one("facts_held", agent=agent)
        return int(row[0]) if row else 0

    async def remember(self, agent: str, note: Note) -> Remembered:
        """Keep a note, durably, in the place of what it repeats or replaces.

        Raises:
            FactRefused: It comes from outside and would replace what does not.
        """
        note = self._clean(note)
        return await self._write(partial(remember, agent=agent, note=note, rules=self.rules))

    async def use(self, ids: Collection[FactId]) -> None:
        """Note that some facts were of use now."""
        await self._write(partial(use, ids=ids))

    async def forget(self, fact: FactId, *, agent: str | None = None, is_outside: bool = False) -> Fact:
        """Take a fact away, of one agent or of any, and return it as it was.

        Raises:
            FactNotFound: There is none.
            FactRefused: Somebody outside wants it gone.
        """
        return await self._write(partial(forget, name=fact, agent=agent, is_outside=is_outside))

    async def flush(self, flushed: Flushed) -> int:
        """Keep what was found in a conversation up to an entry, once; say how many facts are new or changed."""
        notes = [self._clean(note) for note in flushed.notes]
        flushed = msgspec.structs.replace(flushed, notes=notes)
        return await self._write(partial(flush, flushed=flushed, rules=self.rules))

    def _clean(self, note: Note) -> Note:
        """Take secrets out of a note."""
        clean = self._redaction
        return msgspec.structs.replace(
            note,
            text=clean(note.text),
            entity=clean(note.entity),
            key=clean(note.key),
            value=clean(note.value),
            category=clean(note.category),
        )

    async def flushed_through(self, session: SessionId) -> int:
        """Return up to which entry a conversation was asked for facts."""
        row = await self._read(lambda reads: reads.one("flushed_through", session=session))
        return int(row[0]) if row else 0

    async def search(self, question: Question) -> list[Fact]:
        """Return what answers a question, best first; what it costs does not depend on how many facts there are.

        With a vector it does: then each vector of the agent is looked at, one at a time.
        """
        return await self._read(partial(recall.search, question=question))

    async def worthiest(self, agent: str, now: int, limit: int) -> list[Fact]:
        """Return the most valuable facts of an agent that do not come from outside."""
        return await self._read(partial(recall.worthiest, agent=agent, now=now, limit=limit))

    async def page(self, agent: str | None, now: int, before: int, limit: int) -> list[Fact]:
        """Return one page of the facts of an agent, or of all, highest number first."""
        return await self._read(partial(recall.page, agent=agent, now=now, before=before, limit=limit))

    async def without_vector(self, model: str, after: int) -> list[Fact]:
        """Return some facts whose meaning is not known to a model yet, by number."""
        found = await self._read(
            lambda reads: reads.all("facts_without_vector", model=model, after=after, limit=VECTORS)
        )
        return [rows.fact(row) for row in found]

    async def keep_vectors(self, model: str, found: Sequence[tuple[Fact, bytes]]) -> None:
        """Keep what some facts mean to a model; those that have changed meanwhile are passed over."""

        def operation(tx: Tx) -> None:
            for fact, body in found:
                tx.run(
                    "fact_vector_kept",
                    number=fact.number,
                    model=model,
                    body=body,
                    updated_at=fact.updated_at,
                )

        await self._write(operation)
