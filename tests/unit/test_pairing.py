from tidegate.agent.pairing import ID_CHARS, pairs, unused
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, User


def call(call_id: str) -> Call:
    """Return a call."""
    return Call(tool="t", call_id=call_id, text="{}")


def result(call_id: str) -> Result:
    """Return a result."""
    return Result(tool="t", call_id=call_id)


def test_an_id_used_twice_in_one_answer() -> None:
    """Results come in the order of the calls, whatever notices lie between."""
    bodies: list[Body] = [
        call("a"),
        Notice(text="n"),
        call("a"),
        call("b"),
        result("a"),
        result("b"),
        result("a"),
    ]
    assert pairs(bodies) == {0: 4, 2: 6, 3: 5}


def test_an_id_used_again() -> None:
    """A result belongs to the latest answer that waits for it; an older call goes without, or gets the next one."""
    bodies: list[Body] = [call("a"), User(text="go on"), call("a"), result("a"), result("a"), result("a")]
    assert pairs(bodies[:4]) == {2: 3}
    assert pairs(bodies) == {2: 3, 0: 4}
    assert pairs([call("a"), Assistant(text="x"), call("a"), result("a")]) == {2: 3}


def test_a_result_of_nothing() -> None:
    """A result without a call, or before it, belongs to none."""
    assert pairs([result("a"), call("a"), result("b")]) == {}


def test_an_id_that_nobody_has() -> None:
    """It is nine letters and digits, always the same for the same id, and another one where that is taken."""
    first = unused("call_0", set())
    assert (len(first), first.isalnum()) == (ID_CHARS, True)
    assert first == unused("call_0", {"call_0"}) != unused("", set())
    second = unused("call_0", {first})
    assert second not in {first, unused("call_0", {first, second})}


def test_an_unused_id_is_found_at_once() -> None:
    """However often one id comes again, the next one for it takes a step or two."""

    class Taken(set[str]):
        looks = 0

        def __contains__(self, one: object) -> bool:
            self.looks += 1
            return super().__contains__(one)

    taken = Taken()
    for _ in range(500):
        taken.add(unused("call_0", taken))
    assert (500, True) == (len(taken), taken.looks <= 2 * 500)
