"""Pieces of work for a store, and the usual ways to carry them out."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from tidegate.domain.entry import Assistant, Body, User
from tidegate.domain.run import Lane, Lease, Origin, Run, Step
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.domain.snapshot import SkillRef, snapshot_of
from tidegate.domain.spawn import SpawnLimits
from tidegate.ids import BlobHash, SessionId
from tidegate.store.admission import Admission, Admitted, Birth, Claimed, Offer, Order, Receipt
from tidegate.store.move import Move, Settled
from tidegate.store.port import Store

LANES = {
    PolicyName.CHAT: Lane.INTERACTIVE,
    PolicyName.API: Lane.INTERACTIVE,
    PolicyName.API_NAMED: Lane.INTERACTIVE,
    PolicyName.SUBAGENT: Lane.SUBAGENT,
    PolicyName.CRON: Lane.CRON,
    PolicyName.HOOK: Lane.CRON,
}
ORIGINS = {
    PolicyName.SUBAGENT: Origin.SPAWN,
    PolicyName.CRON: Origin.FIRING,
    PolicyName.HOOK: Origin.HOOK,
}
EVERYTHING = 1 << 30


def offer(  # noqa: PLR0913 - each is optional, and tests read like sentences
    policy: PolicyName = PolicyName.CHAT,
    *,
    key: str | None = None,
    text: str = "hello",
    parent: SessionId | None = None,
    group: str | None = None,
    receipt: Receipt | None = None,
    skills: Offer | None = None,
) -> Admission:
    """Return a piece of work as the intake would build it."""
    return Admission(
        key=key,
        birth=Birth(policy=policy, agent="main", parent=parent, cap_group=group),
        lane=LANES[policy],
        origin=ORIGINS.get(policy, Origin.MESSAGE),
        bodies=[User(text=text)],
        receipt=receipt,
        skills=skills,
    )


def offered(skills: Mapping[str, str], *, agent: str = "main", is_stocked: bool = True) -> Offer:
    """Return an offer of skills by name, each with the text of its SKILL.md."""
    texts = {name: text.encode() for name, text in skills.items()}
    hashes = {name: BlobHash(hashlib.sha256(text).hexdigest()) for name, text in texts.items()}
    snapshot = snapshot_of(SkillRef(name, blob) for name, blob in hashes.items())
    bodies = {hashes[name]: text for name, text in texts.items()}
    return Offer(agent=agent, snapshot=snapshot, bodies=bodies if is_stocked else {})


def order(lease: Lease, call_id: str, *, waits: bool = True) -> Admission:
    """Return a piece of work that a call of a running run asks a child for."""
    asked = Order(
        lease=lease,
        call_id=call_id,
        tool="spawn_agent",
        label=call_id,
        waits=waits,
        limits=SpawnLimits(depth=3, children=3, descendants=5),
        max_tokens=10_000_000,
        child_max_tokens=1_000_000,
    )
    admission = offer(PolicyName.SUBAGENT, parent=lease.session, text=f"task {call_id}")
    return msgspec.structs.replace(admission, order=asked)


def receipt(key: str, body: str = "hello", scope: str = "test") -> Receipt:
    """Return the receipt of a piece of work."""
    return Receipt(scope=scope, key=key, body_hash=body.encode())


async def claim(store: Store, lane: Lane = Lane.INTERACTIVE) -> Claimed:
    """Claim a run that is known to be queued."""
    claimed = await store.claim(lane)
    assert claimed is not None
    return claimed


async def start(store: Store, admission: Admission) -> Claimed:
    """Admit a piece of work and claim the next run of its lane."""
    await store.admit(admission)
    return await claim(store, admission.lane)


async def work(store: Store, admission: Admission, outcome: Outcome = Outcome.OK) -> Session:
    """Carry out a piece of work from its admission to its end, and return its session."""
    claimed = await start(store, admission)
    await store.append(claimed.run.lease, Step(bodies=[Assistant(text="done")]))
    await store.finish(claimed.run.lease, outcome)
    return head(store, claimed.session)


async def say(store: Store, lease: Lease, *texts: str) -> None:
    """Append answers in one step."""
    await store.append(lease, Step(bodies=[Assistant(text=text) for text in texts]))


def head(store: Store, session: Session | Admitted | Claimed) -> Session:
    """Return a session as it is now."""
    session_id = session.id if isinstance(session, Session) else session.session.id
    found = store.session_by_id(session_id)
    assert found is not None
    return found


def fresh(store: Store, run: Run) -> Run:
    """Return a run as it is now."""
    found = store.run(run.id)
    assert found is not None
    return found


async def move(store: Store, session: Session, to: DueTo, *, is_asked: bool = False) -> Settled:
    """Ask for one move of a session, packed if it goes to the archive, as it stands in the given head."""
    segments = await store.pack(session.id, EVERYTHING) if to is DueTo.ARCHIVED else ()
    (settled,) = await store.settle([Move(session=session, to=to, is_asked=is_asked, segments=segments)])
    return settled


async def archive(store: Store, session: Session) -> Session:
    """Archive a session, down to its last hot row."""
    assert await move(store, head(store, session), DueTo.ARCHIVED, is_asked=True) is Settled.DONE
    while await store.trim(session.id):
        pass
    return head(store, session)


async def delete(store: Store, session: Session) -> None:
    """Delete a session and the tree below it."""
    settled = Settled.PROGRESS
    while settled in {Settled.PROGRESS, Settled.SLICE}:
        settled = await move(store, head(store, session), DueTo.DELETED, is_asked=True)
    assert settled is Settled.DONE


async def texts(store: Store, session: Session | Admitted | Claimed) -> list[str]:
    """Return the texts of a whole transcript."""
    return [body.text for body in await bodies(store, session)]


async def bodies(store: Store, session: Session | Admitted | Claimed) -> list[Body]:
    """Return the bodies of a whole transcript, read page by page."""
    session_id = head(store, session).id
    found: list[Body] = []
    while page := await store.entries(session_id, len(found), 100):
        assert [entry.seq for entry in page] == list(range(len(found) + 1, len(found) + len(page) + 1))
        found += [entry.body for entry in page]
    return found


def counts(store: Store, policy: PolicyName) -> dict[State, int]:
    """Return how many sessions of a policy are in each state, without the zeros."""
    sessions = store.tallies().sessions
    return {state: sessions[policy, state][0] for state in State if sessions[policy, state][0]}


def names(sessions: Sequence[Session]) -> list[str]:
    """Return the keys of sessions, in order."""
    return [session.key for session in sessions]
