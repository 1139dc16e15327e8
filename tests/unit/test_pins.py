from tidegate.agent.pins import MAX_PINNED, Room, pinned
from tidegate.domain.entry import Assistant, Body, Call, Entry, Result, System, User
from tidegate.ids import RunId, SessionId

ROOM = Room(1_000, keeps_first=False)


def entries(*bodies: Body) -> list[Entry]:
    """Return a transcript."""
    return [Entry(session=SessionId("s"), seq=seq, body=body) for seq, body in enumerate(bodies, 1)]


def reading(call_id: str, name: str = "a", text: str = "body") -> tuple[Body, Body]:
    """Return a call that reads a skill, and what it read."""
    arguments = f'{{"name":"{name}"}}'
    call = Call(tool="skill", call_id=call_id, text=arguments)
    return call, Result(tool="skill", call_id=call_id, text=text)


def test_instructions_and_skills_stay() -> None:
    """What a request instructed, and skills that were read, are pinned with their results; other things are not."""
    other: list[Body] = [Call(tool="t", call_id="x"), Result(tool="t", call_id="x"), Assistant(text="a")]
    found = entries(System(text="be kind"), User(text="q"), *reading("1"), *other, *reading("2", "b"))

    assert pinned(found, ROOM, with_message=False) == (1, 3, 4, 8, 9)


def test_of_each_skill_the_latest_reading_stays() -> None:
    """A skill that was read twice is pinned once."""
    assert pinned(entries(*reading("1"), *reading("2"), *reading("3", "b")), ROOM, with_message=False) == (
        3,
        4,
        5,
        6,
    )


def test_the_same_instructions_stay_once() -> None:
    """What a client says with each request is pinned in its latest place, not as often as it was said."""
    said: list[Body] = [System(text="be kind"), User(text="q")]

    assert pinned(entries(*said, System(text="be brief"), *said, *said), ROOM, with_message=False) == (3, 6)


def test_the_latest_instructions_stay() -> None:
    """What a client instructed in a later request takes the place of all that it did before."""
    runs = [RunId("1"), RunId("1"), RunId("2"), RunId("2")]
    said = [System(text=text, run=run) for text, run in zip("abcd", runs, strict=True)]

    assert pinned(entries(*said), ROOM, with_message=False) == (3, 4)


def test_the_newest_come_first() -> None:
    """Where there is no room for all the oldest are left out, whole."""
    found = entries(System(text="x" * 400), *reading("1", text="y" * 400), *reading("2", "b", "z" * 400))

    assert pinned(found, ROOM, with_message=False) == (2, 3, 4, 5)
    assert pinned(found, Room(500, keeps_first=False), with_message=False) == (4, 5)
    many = entries(*[System(text=f"{at}") for at in range(200)])
    assert pinned(many, ROOM, with_message=False) == tuple(range(201 - MAX_PINNED, 201))


def test_messages_stay_if_they_have_to() -> None:
    """The first message stays if that is wished, the last one if a turn is cut through, whatever its size."""
    found = entries(User(text="first"), User(text="second"), User(text="x" * 5_000))

    assert pinned(found, ROOM, with_message=False) == ()
    assert pinned(found, ROOM, with_message=True) == (3,)
    assert pinned(found, Room(1_000, keeps_first=True), with_message=True) == (1, 3)
