import json

from hypothesis import given
from hypothesis import strategies as st

from tidegate.agent.measure import BYTES_PER_TOKEN, ENTRY_TOKENS, size
from tidegate.agent.model import ToolCall
from tidegate.agent.prompt import OLD_BEGINNING_CHARS, build, open_calls, shortened
from tidegate.agent.tools import interrupted
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, System, User

EVERYTHING = 1 << 30
BODIES = st.lists(
    st.one_of(
        st.sampled_from([User(text="question"), Assistant(text="answer"), Notice(text="note")]),
        st.builds(Call, tool=st.just("t"), call_id=st.sampled_from("abc")),
        st.builds(Result, tool=st.just("t"), call_id=st.sampled_from("abc"), text=st.sampled_from("xyz")),
    ),
    max_size=12,
)


def call(call_id: str) -> Call:
    """Return a call."""
    return Call(tool="t", call_id=call_id, text="{}")


def result(call_id: str, text: str = "fine") -> Result:
    """Return the result of a call."""
    return Result(tool="t", call_id=call_id, text=text)


def cut_off(call_id: str) -> Result:
    """Return what stands for the result of a call that got none."""
    return interrupted(ToolCall(call_id=call_id, tool="t", arguments="{}"))


def read(*bodies: Body, max_bytes: int = EVERYTHING) -> list[Body]:
    """Return what a model gets to read of a transcript."""
    return list(build("", bodies, [], max_bytes).bodies)


def test_what_was_said_is_read() -> None:
    """A transcript that fits is read whole and in order, behind the instructions."""
    bodies: list[Body] = [User(text="q"), call("a"), result("a"), Assistant(text="answer")]
    prompt = build("be kind", bodies, [], EVERYTHING)
    assert (prompt.instructions, list(prompt.bodies)) == ("be kind", bodies)


def test_notices_are_for_readers() -> None:
    """A model never reads a notice."""
    assert read(User(text="q"), Notice(text="it failed"), User(text="again")) == [
        User(text="q"),
        User(text="again"),
    ]


def test_whole_turns_are_dropped() -> None:
    """Above the limit the oldest turns go, each as a whole; the last one stays, however long."""
    old: list[Body] = [User(text="x" * 10), call("a"), result("a", "y" * 10), Assistant(text="z")]
    new: list[Body] = [User(text="n" * 10), Assistant(text="m" * 10)]
    whole = 43 + 6 * ENTRY_TOKENS * BYTES_PER_TOKEN
    assert read(*old, *new, max_bytes=whole) == [*old, *new]
    assert read(*old, *new, max_bytes=whole - 1) == new
    assert read(*old, *new, max_bytes=1) == new


def test_a_turn_that_is_too_long_is_told_in_part() -> None:
    """The longest texts of the last turn come down to one length; what is shorter stays whole, arguments stay JSON."""
    long = Call(tool="t", call_id="a", text='{"a": "' + "b" * 9_000 + '"}')
    turn: list[Body] = [
        User(text="short"),
        long,
        result("a", "é" * 9_000),
        call("b"),
        result("b", "z" * 6_000),
    ]
    told = read(User(text="before"), *turn, max_bytes=6_000)
    assert [type(body) for body in told] == [type(body) for body in turn]
    assert told[0] == turn[0]
    assert json.loads(told[1].text) == {"left_out": "9,009 bytes"}
    for body, end in ((told[2], "é"), (told[4], "z")):
        assert body.text.startswith(end)
        assert body.text.endswith(end)
        assert "bytes are left out here" in body.text
    assert 3_500 < sum(map(size, told)) <= 6_000


def test_what_cannot_be_shorter_is_told_all_the_same() -> None:
    """A room for nothing leaves the beginning and the end of each text."""
    told = read(User(text="a" * 5_000 + "the end"), max_bytes=1)
    assert told[0].text.startswith("aaa")
    assert told[0].text.endswith("the end")


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=8), st.integers(2_500, 12_000))
def test_what_is_told_in_part_fits(lengths: list[int], room: int) -> None:
    """Whatever lengths there are, a turn fits, and not much less of it is told than would fit."""
    turn: list[Body] = [User(text="q" * lengths[0]), *(Assistant(text="x" * size) for size in lengths[1:])]
    told = read(*turn, max_bytes=room)
    whole = sum(map(size, read(*turn)))
    assert sum(map(size, told)) <= room
    assert sum(map(size, told)) >= min(whole, room - len(turn))


def test_instructions_of_a_client_are_part_of_no_turn() -> None:
    """They stay where the turns around them go."""
    rules = System(text="speak French")
    bodies: list[Body] = [rules, User(text="x" * 900), Assistant(text="y"), User(text="now")]
    assert read(*bodies, max_bytes=300) == [rules, User(text="now")]


def test_results_follow_their_calls() -> None:
    """A result that came late, or out of order, is read behind the calls of its step, in their order."""
    late: list[Body] = [
        User(text="q"),
        call("a"),
        call("b"),
        Assistant(text="?"),
        result("b", "2"),
        result("a", "1"),
    ]
    assert read(*late) == [
        User(text="q"),
        *(call("a"), call("b"), result("a", "1"), result("b", "2")),
        Assistant(text="?"),
    ]


def test_a_call_without_a_result() -> None:
    """A call that never got a result is answered by an interruption."""
    assert read(User(text="q"), call("a"), User(text="?")) == [
        User(text="q"),
        call("a"),
        cut_off("a"),
        User(text="?"),
    ]


def test_a_result_without_a_call() -> None:
    """A result that no call asked for is not read."""
    assert read(User(text="q"), result("a"), Assistant(text="x")) == [User(text="q"), Assistant(text="x")]


def test_steps_stay_apart() -> None:
    """Calls that a model made after it had read a result come after that result, whatever their ids."""
    bodies: list[Body] = [User(text="q"), call("a"), result("a", "1"), call("a"), result("a", "2")]
    assert read(*bodies) == bodies


def test_open_calls() -> None:
    """The calls without a result come back in order, with their arguments."""
    bodies: list[Body] = [User(text="q"), call("a"), call("b"), call("a"), result("a")]
    expected = [ToolCall(call_id=call_id, tool="t", arguments="{}") for call_id in "ba"]
    assert open_calls(bodies) == expected
    assert open_calls([*bodies, result("b"), result("a")]) == []


@given(BODIES)
def test_providers_accept_it(bodies: list[Body]) -> None:
    """Whatever a transcript holds, in a prompt every call is followed by one result before anything else is said."""
    pending: list[str] = []
    for body in read(*bodies):
        assert not isinstance(body, Notice)
        if isinstance(body, Call):
            pending.append(body.call_id)
        elif isinstance(body, Result):
            assert pending.pop(0) == body.call_id
        else:
            assert pending == []
    assert pending == []


@given(BODIES)
def test_nothing_else_is_lost(bodies: list[Body]) -> None:
    """A transcript that fits loses its notices and the results that nobody asked for, and nothing else."""
    said = [body for body in bodies if not isinstance(body, Notice | Result)]
    assert [body for body in read(*bodies) if not isinstance(body, Result)] == said


def test_the_summary_stays() -> None:
    """What stands before the summary and the summary itself are read whatever else is dropped."""
    head: list[Body] = [call("s"), result("s"), Summary(text="they met" * 20)]
    last: list[Body] = [User(text="n"), Assistant(text="m")]
    assert read(*head, User(text="o"), Assistant(text="p"), *last, max_bytes=1) == [*head, *last]


def test_old_results_are_shortened() -> None:
    """A large result is read whole in the last turns, and by its beginning in older ones; skills are read whole."""
    large = result("a", "y" * 5_000)
    skill = Result(tool="skill", call_id="b", text="z" * 5_000)
    turn: list[Body] = [User(text="q"), call("a"), large, Call(tool="skill", call_id="b"), skill]
    bodies = shortened([*turn, *turn, *turn], 2)

    assert bodies[5:] == [*turn, *turn]
    assert [bodies[0], bodies[1], *bodies[3:5]] == [turn[0], turn[1], *turn[3:5]]
    mark = "[an old result: 4,000 more characters are left out here]"
    assert bodies[2].text == "y" * OLD_BEGINNING_CHARS + "\n" + mark
    assert shortened(turn, 2) == turn
