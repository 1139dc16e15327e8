import asyncio

import pytest

from tidegate.agent.model import Answer, Delta, Model, Prompt, ToolCall
from tidegate.agent.offline import PIECES, OfflineModel, offline_tools
from tidegate.agent.tools import MAX_RESULT_BYTES, Caller, ToolBox
from tidegate.domain.entry import Assistant, BlobRef, Body, Call, Notice, Result, Summary, System, User
from tidegate.domain.run import Usage
from tidegate.ids import BlobHash, RunId, SessionId


def ask(*bodies: Body) -> Answer:
    """Return the model's answer after checking what every answer promises."""
    return asyncio.run(_ask(OfflineModel(), Prompt(instructions="", bodies=bodies)))


async def _ask(model: Model, prompt: Prompt) -> Answer:
    *deltas, answer = [piece async for piece in model.stream(prompt)]
    assert isinstance(answer, Answer)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == answer.text
    assert len(deltas) <= PIECES
    return answer


def call(tool: str, arguments: str) -> Result:
    """Call one of the offline tools."""
    box = ToolBox(offline_tools())
    caller = Caller(session=SessionId("s"), run=RunId("r"), agent="main")
    result = asyncio.run(box.call(ToolCall(call_id="c", tool=tool, arguments=arguments), caller))
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize(
    "text", ["x", "two words", "  kept  ", "line\nline\n", "naïve 🌊", "/echo", "y" * 100_001]
)
def test_echo_answers_exactly(text: str) -> None:
    """What follows the command and one blank comes back as it is."""
    assert ask(User(text=f"/echo {text}")).text == text


def test_an_answer_comes_in_pieces() -> None:
    """A text longer than a few characters arrives in several deltas, in order."""
    model, prompt = OfflineModel(), Prompt(instructions="", bodies=[User(text="/echo 0123456789")])

    async def deltas() -> list[str]:
        return [piece.text async for piece in model.stream(prompt) if isinstance(piece, Delta)]

    assert asyncio.run(deltas()) == ["01", "23", "45", "67", "89"]


def test_big_calls_emit() -> None:
    """The first answer to /big has no text and one call of ``emit``."""
    answer = ask(User(text="/big 5000"))
    (only,) = answer.calls
    assert (answer.text, only.tool, only.arguments) == ("", "emit", '{"bytes":5000}')


def test_big_counts_the_result() -> None:
    """The second answer names the size of the result in bytes of UTF-8."""
    turn: list[Body] = [
        User(text="/big 3"),
        Call(tool="emit", call_id="c"),
        Result(tool="emit", call_id="c", text="añb"),
    ]
    assert ask(*turn) == Answer(text="4 bytes", usage=Usage(input_tokens=2, output_tokens=1))


def test_big_counts_what_was_spilled() -> None:
    """A result that lies in a blob counts whole, not as its preview."""
    blob = BlobRef(hash=BlobHash("00"), bytes=70_000)
    turn: list[Body] = [User(text="/big 70000"), Result(tool="emit", call_id="c", text="preview", blob=blob)]
    assert ask(*turn).text == "70000 bytes"


@pytest.mark.parametrize(("asked", "arguments"), [("2", '{"seconds":2.0}'), ("0.25", '{"seconds":0.25}')])
def test_sleep_calls_wait(asked: str, arguments: str) -> None:
    """/sleep calls ``wait``, then says how long it slept."""
    message = User(text=f"/sleep {asked}")
    (only,) = ask(message).calls
    assert (only.tool, only.arguments) == ("wait", arguments)
    assert ask(message, Result(tool="wait", call_id=only.call_id, text="waited")).text == f"slept {asked}"


@pytest.mark.parametrize(
    ("message", "tool", "arguments", "answer"),
    [
        ("/read a/b c.txt", "read_file", '{"path":"a/b c.txt"}', "result"),
        ("/write a/b two  words\n", "write_file", '{"path":"a/b","text":"two  words\\n"}', "wrote a/b"),
        ("/run sh -c 'a  b' *", "shell", '{"argv":["sh","-c","a  b","*"]}', "result"),
    ],
)
def test_a_command_calls_its_tool(message: str, tool: str, arguments: str, answer: str) -> None:
    """/read, /write and /run call a tool with what follows, then answer what came of it."""
    (only,) = ask(User(text=message)).calls
    assert (only.tool, only.arguments) == (tool, arguments)
    result = Result(tool=tool, call_id=only.call_id, text="result")
    assert ask(User(text=message), result).text == answer


@pytest.mark.parametrize("command", ["/big 9", "/sleep 1"])
def test_an_error_is_passed_on(command: str) -> None:
    """When the tool failed, its error is the answer."""
    failed = Result(tool="any", call_id="c", text="it broke", is_error=True)
    assert ask(User(text=command), failed).text == "it broke"


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ("/echo", "/echo TEXT"),
        ("/echo ", "/echo TEXT"),
        ("/big", "/big BYTES"),
        ("/big x", "/big BYTES"),
        ("/big -1", "/big BYTES"),
        ("/big ٣", "/big BYTES"),
        (f"/big {'9' * 5000}", "/big BYTES"),
        ("/sleep nan", "/sleep SECONDS"),
        ("/read ", "/read PATH"),
        ("/write a", "/write PATH TEXT"),
        ("/write  text", "/write PATH TEXT"),
        ("/run ", "/run ARGV"),
        ("/run 'a", "/run ARGV"),
        ("/sleep 1e9", "/sleep SECONDS"),
    ],
)
def test_a_malformed_command_gets_its_usage(message: str, usage: str) -> None:
    """A command whose argument cannot be read answers how it is written, and calls nothing."""
    answer = ask(User(text=message))
    assert (answer.text, answer.calls) == (f"Usage: {usage}", ())


@pytest.mark.parametrize("message", ["hello", " /echo x", "/unknown x", "/Echo x", "/", ""])
def test_anything_else_says_what_it_is(message: str) -> None:
    """Without a command the answer quotes the message, denies being an LLM and tells how to add one."""
    text = ask(User(text=message)).text
    assert f"“{message}”" in text
    assert "not an LLM" in text
    assert "[model] in tidegate.toml" in text


def test_a_long_message_is_quoted_in_part() -> None:
    """The quotation stops after 200 characters."""
    text = ask(User(text="z" * 1_000_000)).text
    assert text.count("z" * 200) == 1
    assert len(text) < 600


def test_only_the_current_turn_counts() -> None:
    """Earlier turns, instructions, summaries and notices change nothing."""
    before: list[Body] = [
        User(text="/big 1"),
        Result(tool="emit", call_id="c", text="x"),
        Assistant(text="1 bytes"),
    ]
    around: list[Body] = [
        Summary(text="/echo s"),
        *before,
        User(text="/big 2"),
        System(text="/echo t"),
        Notice(text="n"),
    ]
    assert [each.arguments for each in ask(*around).calls] == ['{"bytes":2}']


def test_without_a_message_it_introduces_itself() -> None:
    """A prompt without any user message is answered too."""
    assert "not an LLM" in ask().text


def test_call_ids_differ() -> None:
    """Each call has an id of its own, also after the transcript was shortened; a repeat has the same."""
    first = ask(User(text="/big 1", at=1)).calls
    second = ask(User(text="/big 1", at=1), Result(tool="emit", call_id="c"), User(text="/big 1", at=2)).calls
    after_compaction = ask(User(text="/big 1", at=3)).calls
    again = ask(User(text="/big 1", at=3)).calls
    assert len({calls[0].call_id for calls in (first, second, after_compaction)}) == 3
    assert again == after_compaction


def test_usage_is_estimated() -> None:
    """Four characters count as one token, in both directions."""
    prompt = Prompt(instructions="i" * 40, bodies=[User(text="/echo " + "x" * 80)])
    assert asyncio.run(_ask(OfflineModel(), prompt)).usage == Usage(input_tokens=31, output_tokens=20)


@pytest.mark.parametrize("size", [0, 1, 64, 65, 100_000, MAX_RESULT_BYTES])
def test_emit_is_exact(size: int) -> None:
    """``emit`` answers so many bytes of printable ASCII."""
    result = call("emit", f'{{"bytes":{size}}}')
    assert (len(result.text), result.is_error) == (size, False)
    assert result.text.isascii()
    assert result.text.isprintable()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("emit", f'{{"bytes":{MAX_RESULT_BYTES + 1}}}'),
        ("emit", '{"bytes":-1}'),
        ("emit", '{"bytes":1.5}'),
        ("emit", "{}"),
        ("emit", "not json"),
        ("wait", '{"seconds":3601}'),
        ("wait", '{"seconds":-1}'),
        ("wait", '{"seconds":1,"more":2}'),
    ],
)
def test_wrong_arguments_are_told(tool: str, arguments: str) -> None:
    """Arguments out of range or of another shape become an error that the model can read."""
    result = call(tool, arguments)
    assert result.is_error
    assert result.text.startswith("wrong arguments: ")


def test_wait_waits() -> None:
    """``wait`` says how long it waited, under a deadline that is longer than any wait."""
    assert call("wait", '{"seconds":0}').text == "waited 0 s"
    assert [tool.deadline_s > 3600 for tool in offline_tools() if tool.spec.name == "wait"] == [True]


def test_both_tools_may_be_repeated() -> None:
    """A crash may repeat ``emit`` and ``wait``: neither changes anything."""
    assert [tool.is_idempotent for tool in offline_tools()] == [True, True]
