import pytest

from tidegate.domain.session import Kind
from tidegate.runtime.lanes import Lane


def lane(slots: int) -> Lane:
    """Return a lane whose runs somebody carries out."""
    found = Lane(slots)
    found.is_open = True
    return found


def test_a_slot_is_kept_for_the_door() -> None:
    """While a run is at the door its slot is taken; then it is given back, whatever became of the run."""
    found = lane(1)
    with found.kept(Kind.CHAT) as is_kept, found.kept(Kind.CHAT) as is_kept_twice:
        assert (True, False) == (is_kept, is_kept_twice)
    assert found.has_room
    with pytest.raises(RuntimeError), found.kept(Kind.CHAT):
        raise RuntimeError
    assert found.has_room


def test_a_kept_slot_that_is_free_again_is_told() -> None:
    """Whoever came meanwhile found no room, so it is told once there is; what kept nothing tells nothing."""
    found, rooms = lane(1), list[bool]()
    found.on_room = lambda: rooms.append(found.has_room)
    with found.kept(Kind.CHAT), found.kept(Kind.CHAT):
        pass
    assert [True] == rooms


def test_a_claim_under_way_leaves_no_slot_at_the_door() -> None:
    """While runs are claimed for all free slots, nothing else is promised one; api sessions stay within their half."""
    found = lane(4)
    with found.held(2, for_api=True):
        assert (True, False) == (found.has_room, found.has_room_for_api)
        with found.held(2, for_api=False), found.kept(Kind.CHAT) as is_kept:
            assert not is_kept
    assert (True, 2) == (found.has_room, found.room_for_api)


def test_what_is_kept_is_not_taken_yet() -> None:
    """The run that starts takes a slot of its own while the kept one is still held: no more than there are."""
    found = lane(1)
    with found.kept(Kind.CHAT):
        assert 0 == found.taken
        found.take(Kind.CHAT)
        assert not found.has_room
    assert (1, False) == (found.taken, found.has_room)
    found.give(Kind.CHAT)
    assert found.has_room


def test_nothing_is_kept_where_nobody_works() -> None:
    """A lane whose runs nobody carries out keeps no slot: its runs would run for nobody."""
    with Lane(4).kept(Kind.CHAT) as is_kept:
        assert not is_kept


def test_api_keeps_half_of_the_slots_at_most() -> None:
    """Sessions of programs cannot keep the slots that people find free."""
    found = lane(4)
    with found.kept(Kind.API) as one, found.kept(Kind.API) as two, found.kept(Kind.API) as three:
        assert (True, True, False) == (one, two, three)
        assert found.has_room


def test_one_provider_leaves_slots_to_the_others() -> None:
    """Three quarters are its share, at the door as in the claims; what ends gives its slot back."""
    found = Lane(8, {"slow": "a", "slower": "a", "quick": "b"})
    found.is_open = True
    for agent in ("slow", "slow", "slower", "slow", "slower"):
        found.take(Kind.CHAT, agent)
    assert (found.full, found.least_room) == ([], 1)
    with found.kept(Kind.CHAT, "slow") as is_kept, found.kept(Kind.CHAT, "slower") as is_kept_twice:
        assert (True, False) == (is_kept, is_kept_twice)
        assert (found.full, found.least_room, found.has_room) == (["slow", "slower"], 6, True)
        with found.kept(Kind.CHAT, "quick") as is_kept_for_another:
            assert (is_kept_for_another, found.least_room) == (True, 5)
    found.take(Kind.CHAT, "slow")
    assert (found.full, found.least_room) == (["slow", "slower"], 6)
    with found.held(2, for_api=False):
        assert (found.least_room, found.has_room) == (4, False)
    found.give(Kind.CHAT, "slower")
    assert found.full == []


@pytest.mark.parametrize(("slots", "share"), [(1, 1), (2, 1), (4, 3), (32, 24)])
def test_the_share_of_a_provider(slots: int, share: int) -> None:
    """It is at least one slot; an agent that is not configured any more, or the only provider, has no share."""
    found = Lane(slots, {"slow": "a", "quick": "b"})
    for _ in range(share):
        assert "slow" not in found.full
        found.take(Kind.CHAT, "slow")
    assert found.full == ["slow"]
    alone = Lane(slots, {"slow": "a", "slower": "a"})
    for _ in range(slots - 1):
        alone.take(Kind.CHAT, "slow")
    assert alone.full == []
