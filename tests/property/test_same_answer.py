"""A streamed answer and a plain one are the same text, whatever the history, the tools and the session."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from extent import share
from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply
from sse import events

EXAMPLES = share(20)

#: JSON carries all of it but halves of surrogate pairs, and the gateway keeps no NUL
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SAID = TEXT.filter(str.strip)
HISTORY = st.lists(
    st.one_of(
        st.builds(lambda text: {"role": "system", "content": text}, TEXT),
        st.builds(lambda text: {"role": "user", "content": text}, TEXT),
        st.builds(lambda text: {"role": "assistant", "content": text}, TEXT),
        st.builds(
            lambda text, call_id: {
                "role": "assistant",
                "content": text,
                "tool_calls": [{"id": call_id, "function": {"name": "look", "arguments": "{}"}}],
            },
            TEXT,
            st.sampled_from(["a", "b"]),
        ),
        st.builds(
            lambda text, call_id: {"role": "tool", "content": text, "tool_call_id": call_id},
            TEXT,
            st.sampled_from(["a", "b"]),
        ),
    ),
    max_size=6,
)


class Place(NamedTuple):
    """A gateway and its scripted provider."""

    gateway: GatewayProcess
    provider: LlmServer

    def ask(
        self, answers: list[str], messages: list[dict[str, Any]], key: str | None, *, stream: bool
    ) -> str:
        """Let the model say these texts, with a call of a tool between two, and return what a client gets."""
        calls = [[(f"call_{number}", "list_files", "{}")] for number in range(len(answers) - 1)]
        script = [Reply(text=text, calls=call) for text, call in zip(answers, [*calls, []], strict=True)]
        self.provider.script[:] = script
        headers = {} if key is None else {"X-Tidegate-Session": key}
        body = {"messages": messages, "stream": stream}
        http = self.gateway.http
        if not stream:
            answer = http.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["choices"][0]["message"]["content"])
        with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status_code == 200
            lines = (line for line in answer.iter_lines() if line != "data: [DONE]")
            chunks = [event.data for event in events(lines)]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a gateway on a scripted provider."""
    with LlmServer() as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("same") / "state"
        with GatewayProcess(state, config=config) as gateway:
            yield Place(gateway, provider)


keys = itertools.count()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    history=[{"role": "assistant", "content": "old"}], before=["let me see"], last="new", in_session=False
)
@example(history=[], before=[], last="a\x85b\u2028c\u2029d", in_session=False)
@given(
    history=HISTORY,
    before=st.lists(TEXT, max_size=2),
    last=SAID,
    in_session=st.booleans(),
)
def test_streams_and_plain_answers(
    place: Place, history: list[dict[str, Any]], before: list[str], last: str, *, in_session: bool
) -> None:
    """Both are what the model said, parted by a blank line where it called a tool, and nothing of the history."""
    messages = [*history, {"role": "user", "content": "well?"}]
    answers = [*before, last]
    said = "\n\n".join(text for text in answers if text)
    number = next(keys)
    for stream in (False, True):
        key = f"same-{number}-{stream}" if in_session else None
        assert place.ask(answers, messages, key, stream=stream) == said
        if key is not None:  # and again in the same session
            assert place.ask(["more"], [{"role": "user", "content": "on"}], key, stream=stream) == "more"
