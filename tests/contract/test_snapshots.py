import msgspec
import pytest

from house import House
from tidegate.domain.session import DueTo, PolicyName, Session, State
from tidegate.errors import TooManySessions
from tidegate.store.admission import SnapshotMissing
from tidegate.store.move import Settled
from tidegate.store.port import Store
from work import archive, claim, delete, head, move, offer, offered, start, work

pytestmark = pytest.mark.anyio

SET = {"one": "first " * 200, "two": "second"}
SIZE = sum(map(len, SET.values()))


async def shared(store: Store) -> tuple[int, int, int, int]:
    """Return what is stored for all: snapshots, blobs, their bytes and the references to them."""
    found = store.tallies()
    assert set((await store.orphans()).values()) == {0}
    return found.snapshots, found.blobs, found.blob_bytes, found.references


async def test_stored_once(house: House) -> None:
    """However many sessions there are, their skills are one snapshot and one blob each, of exactly their bytes."""
    for policy in (PolicyName.API, PolicyName.CHAT, PolicyName.CRON, PolicyName.CHAT):
        await work(house.store, offer(policy, skills=offered(SET)))
    assert await shared(house.store) == (1, 2, SIZE, 2)


async def test_what_a_snapshot_holds(house: House) -> None:
    """A session names its snapshot, and the snapshot its skills by name; each blob is the very bytes."""
    wanted = offered(SET)
    admitted = await house.store.admit(offer(skills=wanted))
    assert admitted.session.snapshot == wanted.snapshot.name
    found = await house.store.skills(wanted.snapshot.name)
    assert [skill.name for skill in found] == ["one", "two"]
    assert {skill.name: (await house.store.blob(skill.blob)).decode() for skill in found} == SET
    assert await house.store.skills("0" * 64) == []


async def test_bytes_are_asked_for(house: House) -> None:
    """An offer without bytes is enough where the store has the snapshot; else nothing is written."""
    with pytest.raises(SnapshotMissing) as missing:
        await house.store.admit(offer(key="a", skills=offered(SET, is_stocked=False)))
    assert missing.value.blobs == set(offered(SET).bodies)
    assert house.store.session("a") is None
    assert await shared(house.store) == (0, 0, 0, 0)
    await house.store.admit(offer(key="a", skills=offered(SET)))
    again = await house.store.admit(offer(key="b", skills=offered(SET, is_stocked=False)))
    assert again.session.snapshot == offered(SET).snapshot.name


async def test_only_missing_bytes_are_needed(house: House) -> None:
    """Of a changed set the store needs the bytes of what it does not have, and says which."""
    await house.store.admit(offer(key="a", skills=offered(SET)))
    wanted = offered(SET | {"two": "changed!"})
    new = next(ref.blob for ref in wanted.snapshot.skills if ref.name == "two")
    with pytest.raises(SnapshotMissing) as missing:
        await house.store.admit(offer(key="b", skills=msgspec.structs.replace(wanted, bodies={})))
    assert missing.value.blobs == {new}
    await house.store.admit(offer(key="b", skills=msgspec.structs.replace(wanted, bodies={new: b"changed!"})))
    assert await shared(house.store) == (2, 3, SIZE + 8, 4)


async def test_no_skills(house: House) -> None:
    """An agent without skills gives its sessions no snapshot; nor is one given where nothing is offered."""
    assert (await house.store.admit(offer(skills=offered({})))).session.snapshot is None
    assert (await house.store.admit(offer())).session.snapshot is None
    assert await shared(house.store) == (0, 0, 0, 0)


async def test_a_changed_skill_adds_its_own_size(house: House) -> None:
    """One changed skill is one more blob; what did not change is shared by both snapshots."""
    await work(house.store, offer(PolicyName.API, skills=offered(SET)))
    await work(house.store, offer(PolicyName.API, skills=offered(SET | {"two": "changed!"})))
    assert await shared(house.store) == (2, 3, SIZE + 8, 4)


async def test_the_last_session_takes_it_away(house: House) -> None:
    """A snapshot lives as long as a session has it, archived or not; its blobs go with the last reference."""
    old = await work(house.store, offer(PolicyName.API, skills=offered(SET)))
    new = await work(house.store, offer(PolicyName.API, skills=offered(SET | {"two": "changed!"})))
    await archive(house.store, old)
    assert (await shared(house.store))[0] == 2
    await delete(house.store, old)
    assert await shared(house.store) == (1, 2, SIZE - len("second") + 8, 2)
    await delete(house.store, new)
    assert await shared(house.store) == (0, 0, 0, 0)


async def test_a_text_may_be_a_skill(house: House) -> None:
    """A blob that a transcript and a snapshot share stays until both have let it go, in either order."""
    text = "x" * 70_000
    for is_skill_first in (True, False):
        said = await work(house.store, offer(text=text))
        having = await work(house.store, offer(skills=offered({"s": text})))
        assert (await shared(house.store))[1:] == (1, 70_000, 2)
        first, last = (having, said) if is_skill_first else (said, having)
        await delete(house.store, first)
        assert (await shared(house.store))[1:] == (1, 70_000, 1)
        await delete(house.store, last)
        assert await shared(house.store) == (0, 0, 0, 0)


async def adopted(store: Store, session: Session, skills: dict[str, str], agent: str = "main") -> str | None:
    """Send one more message with other skills on offer, and return which the session has then."""
    wanted = offered(skills, agent=agent)
    admission = offer(session.policy, key=session.key, skills=wanted)
    return (await store.admit(admission)).session.snapshot


@pytest.mark.parametrize("policy", [PolicyName.CHAT, PolicyName.API_NAMED])
async def test_a_conversation_follows(house: House, policy: PolicyName) -> None:
    """The next message brings a conversation the present skills; what only the former ones held goes."""
    session = await work(house.store, offer(policy, key="k", skills=offered(SET)))
    assert await adopted(house.store, session, {"two": "second"}) == offered({"two": "second"}).snapshot.name
    assert await shared(house.store) == (1, 1, len("second"), 1)
    assert head(house.store, session).snapshot == offered({"two": "second"}).snapshot.name


async def test_a_conversation_loses_its_skills(house: House) -> None:
    """Where an agent has no skills any more, its conversations have none from the next message on."""
    session = await work(house.store, offer(key="k", skills=offered(SET)))
    assert await adopted(house.store, session, {}) is None
    assert await shared(house.store) == (0, 0, 0, 0)


async def test_a_turn_keeps_its_skills(house: House) -> None:
    """While a turn is open its skills stay, whatever is offered with the next message."""
    before = offered(SET).snapshot.name
    claimed = await start(house.store, offer(key="k", skills=offered(SET)))
    assert await adopted(house.store, claimed.session, {"new": "skill"}) == before
    await house.reopen()
    await house.store.recover()
    assert (await claim(house.store)).session.snapshot == before


async def test_another_agents_skills_are_not_taken(house: House) -> None:
    """What is offered for another agent than the session's own is passed over."""
    session = await work(house.store, offer(key="k", skills=offered(SET)))
    assert await adopted(house.store, session, {"new": "skill"}, agent="other") == session.snapshot


async def test_an_ephemeral_session_keeps_those_of_its_birth(house: House) -> None:
    """A session that is no conversation has the same skills for life, through archive and restore."""
    session = await work(house.store, offer(PolicyName.CRON, key="k", skills=offered(SET)))
    await archive(house.store, session)
    restored = await house.store.restore(session.id)
    assert restored.snapshot == session.snapshot == offered(SET).snapshot.name
    assert len(await house.store.skills(restored.snapshot)) == 2


async def test_an_archived_chat_comes_back_with_the_present_ones(house: House) -> None:
    """A message to an archived chat brings it back, with the skills of now."""
    session = await archive(house.store, await work(house.store, offer(key="k", skills=offered(SET))))
    assert await adopted(house.store, session, {"new": "skill"}) == offered({"new": "skill"}).snapshot.name
    assert head(house.store, session).state is State.ACTIVE


async def test_what_is_refused_leaves_nothing(house: House) -> None:
    """A session that there is no room for leaves no snapshot behind."""
    limit = 100
    for _ in range(limit):
        await house.store.admit(offer(PolicyName.CRON))
    with pytest.raises(TooManySessions):
        await house.store.admit(offer(PolicyName.CRON, skills=offered(SET)))
    assert await shared(house.store) == (0, 0, 0, 0)


async def test_a_tree_goes_with_its_skills(house: House) -> None:
    """Parents and children share a snapshot; it goes with the last one of the tree."""
    top = await work(house.store, offer(skills=offered(SET)))
    for _ in range(3):
        await work(house.store, offer(PolicyName.SUBAGENT, parent=top.id, skills=offered(SET)))
    assert await shared(house.store) == (1, 2, SIZE, 2)
    settled = await move(house.store, head(house.store, top), DueTo.DELETED, is_asked=True)
    assert settled is Settled.PROGRESS
    assert await shared(house.store) == (1, 2, SIZE, 2)
    await delete(house.store, top)
    assert await shared(house.store) == (0, 0, 0, 0)


async def test_it_is_there_after_a_crash(house: House) -> None:
    """A session and its skills are on the disk together, or neither is."""
    await house.store.admit(offer(key="k", skills=offered(SET)))
    await house.crash()
    session = house.store.session("k")
    assert session is not None
    assert session.snapshot is not None
    assert len(await house.store.skills(session.snapshot)) == 2
    assert await shared(house.store) == (1, 2, SIZE, 2)
