"""What leaves for a model, whole, and what is read of its stream."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from tidegate.agent import dialect
from tidegate.agent.limit import Room
from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.domain.entry import Assistant, BlobRef, Body, Call, Notice, Result, Summary, System, User
from tidegate.ids import BlobHash


def told(*bodies: Body, instructions: str = "") -> list[list[tuple[Any, ...]]]:
    """Return what a model is told: of each message its parts, of each part its kind and what it holds."""
    prompt = Prompt(instructions=instructions, bodies=bodies)
    return [[_part(part) for part in message.parts] for message in dialect.messages(prompt, "me")]


def _part(part: Any) -> tuple[Any, ...]:
    match part.part_kind:
        case "tool-call":
            return ("call", part.tool_call_id, part.tool_name, part.args)
        case "tool-return":
            return ("result", part.tool_call_id, part.tool_name, part.content)
        case kind:
            return (kind.removesuffix("-prompt"), part.content)


def call(call_id: str = "a", tool: str = "t", text: str = "{}") -> Call:
    """Return a call."""
    return Call(tool=tool, call_id=call_id, text=text)


def result(call_id: str = "a", tool: str = "t", text: str = "x") -> Result:
    """Return a result."""
    return Result(tool=tool, call_id=call_id, text=text)


def test_everything_in_its_place() -> None:
    """Instructions, system messages, a summary, what was said, calls with results; a notice is not told."""
    spilled = Result(tool="t", call_id="b", text="be", blob=BlobRef(hash=BlobHash("00"), bytes=70_000))
    assert told(
        System(text="be exact"),
        Summary(text="they met"),
        Notice(text="never"),
        User(text="hi"),
        Assistant(text="I look"),
        call("a"),
        call("b", text='{"x": 1}'),
        result("a"),
        spilled,
        Assistant(text="half", is_partial=True),
        User(text="go"),
        instructions="be brief",
    ) == [
        [("system", "be brief")],
        [("system", "be exact"), ("user", "[summary of the conversation so far]\nthey met"), ("user", "hi")],
        [("text", "I look"), ("call", "a", "t", "{}"), ("call", "b", "t", '{"x": 1}')],
        [
            ("result", "a", "t", "x"),
            ("result", "b", "t", "be\n[only the beginning is shown; the whole result has 70000 bytes]"),
        ],
        [("text", "half\n\n[broken off here by a failure of the connection; the rest never came]")],
        [("user", "go")],
    ]


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([], [[("user", "[go on]")]]),
        ([System(text="s")], [[("system", "s"), ("user", "[go on]")]]),
        ([System(text=" \n")], [[("user", "[go on]")]]),
        ([User(text="")], [[("user", "[an empty message]")]]),
        ([User(text=" \n")], [[("user", "[an empty message]")]]),
        (
            [User(text="hi"), Assistant(text="ho")],
            [[("user", "hi")], [("text", "ho")], [("user", "[go on]")]],
        ),
        ([User(text="hi"), Assistant(text=" "), User(text="ho")], [[("user", "hi")], [("user", "ho")]]),
        (
            [Assistant(text="ho"), User(text="hi")],
            [
                [("user", "[the beginning of the conversation is left out]")],
                [("text", "ho")],
                [("user", "hi")],
            ],
        ),
        (
            [System(text="s"), call(), result()],
            [
                [("user", "[the beginning of the conversation is left out]"), ("system", "s")],
                [("call", "a", "t", "{}")],
                [("result", "a", "t", "x")],
            ],
        ),
        ([User(text="hi"), result()], [[("user", "hi")]]),
    ],
)
def test_what_providers_refuse(bodies: Sequence[Body], expected: object) -> None:
    """The first and the last word are a user's or a result, and no message is without a word."""
    assert told(*bodies) == expected


def test_ids_and_names() -> None:
    """Ids that fit stay, all others are replaced, in the result as in the call; names are mended and cut."""
    odd = ["x" * 40, "x" * 41, "", "a b", "x" * 40]
    _, calls, results = told(
        User(text="hi"), *(call(one, "no/t") for one in odd), *(result(one, "no/t") for one in odd)
    )
    ids = [part[1] for part in calls]
    assert (ids[0], len(set(ids))) == ("x" * 40, 5)
    assert all(len(one) == 9 and one.isalnum() for one in ids[1:])
    assert [part[1] for part in results] == ids
    assert {part[2] for part in [*calls, *results]} == {"no_t"}
    names = told(call(tool="n" * 65), result(tool="n" * 65), call("b", ""), result("b", ""))
    assert [part[2] for message in names[1:] for part in message] == ["n" * 64] * 2 + ["unnamed"] * 2


def test_the_simplest_form() -> None:
    """Nothing of a provider's own, ids that all take, one message where users speak in a row; nothing else changes."""
    bodies: list[Body] = [
        System(text="s"),
        Summary(text="met"),
        User(text="hi"),
        Assistant(text="ho", opaque="secret"),
        Call(tool="t", call_id="a", text="{}", opaque="secret"),
        result(),
        Notice(text="never"),
        User(text=""),
        User(text="go"),
    ]
    found = dialect.simplified(Prompt(instructions="i", bodies=bodies, summary_bytes=7))
    assert found is not None
    call_id = found.bodies[3].call_id if isinstance(found.bodies[3], Call) else ""
    assert (len(call_id), found.instructions, found.summary_bytes) == (9, "i", 7)
    assert found.bodies == [
        System(text="s"),
        User(text="[summary of the conversation so far]\nmet\n\nhi"),
        Assistant(text="ho"),
        Call(tool="t", call_id=call_id, text="{}"),
        result(call_id),
        User(text="[an empty message]\n\ngo"),
    ]
    plain = Prompt(
        instructions="", bodies=(User(text="hi"), Notice(text="n"), Assistant(text="ho"), User(text="x"))
    )
    assert dialect.simplified(plain) is None


def test_tools_as_they_are_told() -> None:
    """Name, description and schema; the provider does not check arguments itself."""
    schema = {"type": "object", "properties": {}}
    (tool,) = dialect.parameters([ToolSpec(name="t", description="d", parameters=schema)]).function_tools
    assert (tool.name, tool.description, tool.parameters_json_schema, tool.strict) == (
        "t",
        "d",
        schema,
        False,
    )


class Tally(Room):
    """A room in which what is taken is written down."""

    def take(self, chars: int, *, parts: int = 0, calls: int = 0) -> None:
        """Write it down."""
        self.taken = (chars, parts, calls)
        super().take(chars, parts=parts, calls=calls)


EVENTS = [
    (PartStartEvent(index=0, part=TextPart(content="ab")), "ab", (2, 1, 0), True),
    (PartStartEvent(index=0, part=TextPart(content=" ")), " ", (1, 1, 0), False),
    (PartStartEvent(index=0, part=TextPart(content="")), "", (0, 1, 0), False),
    (PartDeltaEvent(index=0, delta=TextPartDelta(content_delta="a\ud83d")), "a?", (2, 0, 0), True),
    (PartDeltaEvent(index=0, delta=TextPartDelta(content_delta="\n")), "\n", (1, 0, 0), False),
    (PartStartEvent(index=0, part=ThinkingPart(content="abc")), "", (3, 1, 0), True),
    (PartStartEvent(index=0, part=ThinkingPart(content="")), "", (0, 1, 0), False),
    (PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="ab")), "", (2, 0, 0), True),
    (PartDeltaEvent(index=0, delta=ThinkingPartDelta(signature_delta="s")), "", (1, 0, 0), True),
    (PartStartEvent(index=0, part=ToolCallPart(tool_name="t", tool_call_id="abc")), "", (4, 1, 1), True),
    (
        PartStartEvent(index=0, part=ToolCallPart(tool_name="t", tool_call_id="abc", args="{}")),
        "",
        (6, 1, 1),
        True,
    ),
    (PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta="abcd")), "", (4, 0, 0), True),
    (PartDeltaEvent(index=0, delta=ToolCallPartDelta(tool_name_delta="t")), "", (1, 0, 0), True),
    (PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta="")), "", (0, 0, 0), False),
]


@pytest.mark.parametrize(("event", "text", "taken", "is_progress"), EVENTS)
def test_what_an_event_brings(
    event: Any, text: str, taken: tuple[int, int, int], *, is_progress: bool
) -> None:
    """Its text, how much it is, and whether it brings the answer on."""
    room = Tally()
    dialect.take(event, room)
    assert (dialect.text_of(event), room.taken, dialect.is_progress(event)) == (text, taken, is_progress)


def test_the_calls_of_an_answer() -> None:
    """They come as written; only the one that the limit cut off is left out."""
    parts: list[ModelResponsePart] = [
        TextPart(content="look"),
        ToolCallPart(tool_name="t\ud83d", args='{"a":  1}', tool_call_id="a\ud83d"),
        ToolCallPart(tool_name="u", args={"b": 2}, tool_call_id="b"),
        ToolCallPart(tool_name="v", args="", tool_call_id="c"),
    ]
    first = ToolCall(call_id="a?", tool="t?", arguments='{"a":  1}')
    second = ToolCall(call_id="b", tool="u", arguments='{"b":2}')
    third = ToolCall(call_id="c", tool="v", arguments="{}")
    assert dialect.calls_of(ModelResponse(parts=parts), is_cut=False) == [first, second, third]
    assert dialect.calls_of(ModelResponse(parts=parts), is_cut=True) == [first, second]
    said_last = ModelResponse(parts=[parts[1], parts[0]])
    assert dialect.calls_of(said_last, is_cut=True) == [first]
    assert dialect.calls_of(ModelResponse(parts=parts[:2]), is_cut=True) == []
