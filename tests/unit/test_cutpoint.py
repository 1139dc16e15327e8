from hypothesis import given
from hypothesis import strategies as st

from tidegate.agent.cutpoint import choose, cuts, last_turn, within
from tidegate.agent.measure import size
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, System, User

QUESTION, ANSWER = User(text="question"), Assistant(text="answer")
BODIES = st.lists(
    st.one_of(
        st.sampled_from([QUESTION, ANSWER, Notice(text="note"), System(text="be kind")]),
        st.builds(Call, tool=st.just("t"), call_id=st.sampled_from("abc")),
        st.builds(Result, tool=st.just("t"), call_id=st.sampled_from("abc"), text=st.sampled_from("xyz")),
    ),
    max_size=14,
)


def call(call_id: str) -> Call:
    """Return a call."""
    return Call(tool="t", call_id=call_id, text="{}")


def result(call_id: str) -> Result:
    """Return its result."""
    return Result(tool="t", call_id=call_id, text="fine")


def matched(bodies: list[Body]) -> dict[int, int]:
    """Return where each call's result is: it belongs to the latest answer with such a call, there to the first one."""
    found: dict[int, int] = {}
    calls = [at for at, body in enumerate(bodies) if isinstance(body, Call)]
    rows = {  # of a call: the first call of the answer that it is in
        at: next(
            first
            for first in calls
            if all(isinstance(body, Call | Notice) for body in bodies[first : at + 1])
        )
        for at in calls
    }
    for at, body in enumerate(bodies):
        if isinstance(body, Result):
            waiting = [
                one
                for one, call in enumerate(bodies[:at])
                if isinstance(call, Call) and call.call_id == body.call_id and one not in found
            ]
            if waiting:
                found[min(waiting, key=lambda one: (-rows[one], one))] = at
    return found


@given(BODIES)
def test_calls_and_results_are_never_split(bodies: list[Body]) -> None:
    """On whichever side of a cut a call is, its result is on the same one."""
    for cut in cuts(bodies):
        assert all((one < cut) == (other < cut) for one, other in matched(bodies).items())


@given(BODIES)
def test_what_is_open_stays(bodies: list[Body]) -> None:
    """A call without a result is behind every cut unless a later message says that nobody waits for it."""
    answered = matched(bodies)
    last_message = max((at for at, body in enumerate(bodies) if isinstance(body, User)), default=-1)
    still_open = [
        at
        for at, body in enumerate(bodies)
        if isinstance(body, Call) and at not in answered and at > last_message
    ]
    assert all(cut <= min(still_open) for cut in cuts(bodies) if still_open)


@given(BODIES)
def test_an_answer_stays_in_one_piece(bodies: list[Body]) -> None:
    """A call is not cut off from the answer that asks for it, nor an answer from its message."""
    for cut in cuts(bodies):
        is_asked = cut < len(bodies) and isinstance(bodies[cut], Call)
        assert not (is_asked and isinstance(bodies[cut - 1], Assistant | Call | User))
        is_answer = cut < len(bodies) and isinstance(bodies[cut], Assistant)
        assert not (is_answer and isinstance(bodies[cut - 1], User))


@given(BODIES, st.integers(0, 600))
def test_a_choice_is_a_cut(bodies: list[Body], keep_bytes: int) -> None:
    """What is chosen is one of the places, or none; where all fits nothing is cut off."""
    if not bodies:
        return
    possible = [0, *cuts(bodies)]
    assert choose(bodies, keep_bytes) in possible
    assert last_turn(bodies) in possible
    assert choose(bodies, sum(map(size, bodies))) == 0
    for cut in cuts(bodies):
        assert within(bodies, cut, keep_bytes) in possible
        assert within(bodies, cut, keep_bytes) <= cut


def test_whole_turns_stay_if_they_fit() -> None:
    """Of the places before which little enough stays, the first one at a user's message is taken."""
    turn: list[Body] = [QUESTION, call("a"), result("a"), ANSWER]
    bodies = [*turn, *turn, *turn]
    one = sum(map(size, turn))

    assert [choose(bodies, keep) for keep in (one, 2 * one - 1, 2 * one, 3 * one)] == [8, 8, 4, 0]


def test_a_turn_that_is_too_long_is_cut_through() -> None:
    """A turn stays whole up to twice the room; above that the cut goes behind a result."""
    turn: list[Body] = [QUESTION, *[one for name in "abcdef" for one in (call(name), result(name))]]
    whole = sum(map(size, turn))
    bodies = [QUESTION, ANSWER, *turn]

    assert choose(bodies, whole // 2 + 1) == 2
    assert choose(bodies, whole // 3) == 11
    assert isinstance(bodies[10], Result)


def test_all_of_an_open_turn_is_never_cut_off() -> None:
    """The message that nobody has answered yet stays, and so do calls that wait."""
    assert cuts([QUESTION]) == []
    assert cuts([QUESTION, call("a"), call("b"), result("a")]) == []
    assert cuts([QUESTION, ANSWER]) == [2]


def test_what_nobody_answers_any_more_holds_nothing_up() -> None:
    """A call that got no result before the next message does not keep a summary from taking its place."""
    assert cuts([QUESTION, call("a"), QUESTION, ANSWER]) == [2, 4]


def test_the_last_turn_goes_if_it_is_the_only_one() -> None:
    """Somebody who asks for a summary gets one, of all but the last turn if there is more."""
    turn: list[Body] = [QUESTION, ANSWER]
    assert [last_turn([*turn, *turn]), last_turn(turn), last_turn([QUESTION])] == [2, 2, 0]


def test_of_notices_alone_there_is_no_summary() -> None:
    """Where nothing was said before the last turn that turn goes as well."""
    notice = Notice(text="note")
    assert [last_turn([notice, QUESTION, ANSWER]), last_turn([notice, notice]), last_turn([notice])] == [
        3,
        0,
        0,
    ]
    assert choose([notice, QUESTION, ANSWER, QUESTION], size(QUESTION)) == 3
