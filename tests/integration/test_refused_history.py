"""A history that a provider refuses for good is told once more in a simpler form, and never again and again."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from asking import ask, prompt, target
from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply
from tidegate.agent.model import Answer
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Assistant, Body, Call, Result, Summary, User
from tidegate.errors import HistoryRefused, ModelFailed

#: what is said by Mistral, Anthropic, OpenAI, vLLM, DeepSeek
WORDS = [
    "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "An assistant message with 'tool_calls' must be followed by tool messages",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "The reasoning_content in the thinking mode must be passed back to the API.",
]
TURN: Sequence[Body] = [
    Summary(text="they met"),
    User(text="hi"),
    Call(tool="look", call_id="call_1", text="{}"),
    Result(tool="look", call_id="call_1", text="x"),
    Assistant(text="done"),
    User(text="and"),
    User(text="now?"),
]


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def no(words: str, status: int = 400) -> Reply:
    """Return a refusal."""
    return Reply(
        status=status, body=json.dumps({"error": {"message": words, "type": "invalid_request_error"}})
    )


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("status", [400, 422])
def test_it_is_told_once_more(server: LlmServer, words: str, status: int) -> None:
    """With ids that the strictest take and with roles that alternate; the answer to that counts."""
    server.script = [no(words, status), Reply(text="yes")]
    last = ask(server.base_url, prompt(*TURN))[-1]
    assert isinstance(last, Answer)
    assert (last.text, len(server.requests)) == ("yes", 2)
    messages = server.requests[1].messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    call_id = messages[1]["tool_calls"][0]["id"]
    assert (len(call_id), call_id.isalnum(), messages[2]["tool_call_id"]) == (9, True, call_id)
    assert messages[0]["content"] == "[summary of the conversation so far]\nthey met\n\nhi"
    assert messages[-1]["content"] == "and\n\nnow?"


def test_what_was_signed_is_left_out(server: LlmServer) -> None:
    """A signature that its own maker no longer takes does not go there again."""
    where = target(server.base_url, Dialect.ANTHROPIC)
    server.script = [Reply(thoughts=[("the moon", "sig")], text="ebb")]
    first = ask(where)[-1]
    assert isinstance(first, Answer)
    server.script = [no(WORDS[1]), Reply(text="yes")]
    said = Assistant(text=first.text, opaque=first.opaque)
    assert ask(where, prompt(User(text="hi"), said, User(text="and?")))[-1] == ask_again(server)
    contents = [str(request.messages[1]["content"]) for request in server.requests[1:]]
    assert ["sig" in content for content in contents] == [True, False]


def ask_again(server: LlmServer) -> Answer:
    """Return what the last answer has to be."""
    last = ask(target(server.base_url, Dialect.ANTHROPIC), prompt(User(text="/echo yes")))[-1]
    server.requests.pop()
    assert isinstance(last, Answer)
    return last


@pytest.mark.parametrize("dialect", list(Dialect))
def test_it_is_not_told_a_third_time(server: LlmServer, dialect: Dialect) -> None:
    """What is refused in its simplest form is told with what to do."""
    server.script = [no(WORDS[0]), no(WORDS[2])]
    with pytest.raises(HistoryRefused, match=WORDS[2]) as caught:
        ask(target(server.base_url, dialect), prompt(*TURN))
    assert [word in caught.value.hint for word in ("/new", "/compact", "fork")] == [True] * 3
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("bodies", "reply"),
    [
        ([User(text="hi")], no(WORDS[3])),
        (TURN, no("model_parameter 'temperature' is not supported")),
        (TURN, no("no such message", 404)),
        (TURN, no("the message is too much", 403)),
    ],
)
def test_what_nothing_would_change_is_told_once(
    server: LlmServer, bodies: Sequence[Body], reply: Reply
) -> None:
    """A history that is simple already, and a refusal of something else, are not repeated."""
    server.script = [reply]
    with pytest.raises(ModelFailed):
        ask(server.base_url, prompt(*bodies))
    assert len(server.requests) == 1


def test_the_reader_is_told_what_to_do(server: LlmServer, tmp_path: Path) -> None:
    """A chat whose history is refused says so with each message, asks twice at most, and goes on after /new."""
    text = f'[model]\nprovider = "box"\nname = "tiny"\n[providers.box]\nbase_url = "{server.base_url}"\n'
    with GatewayProcess(tmp_path / "state", config=text) as gateway:
        gateway.say("c", "/call list_files {}")
        before = len(server.requests)
        for _ in range(2):
            server.script = [no(WORDS[0]), no(WORDS[0])]
            gateway.say("c", "and now?")
            assert "/new" in gateway.texts("c")[-1]
        assert len(server.requests) - before == 4
        gateway.say("c", "/new")
        assert gateway.say("c", "/echo free")["reply"] == "free"
