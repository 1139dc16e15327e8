"""What an OpenAI client is told when its answer fails: statuses that make it repeat what may pass, and nothing else."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import openai
import pytest
from openai import OpenAI

from gateway_process import TOKEN, WAIT_S, GatewayProcess
from llm_server import LlmServer, Reply


class Place(NamedTuple):
    """A gateway and its scripted provider."""

    gateway: GatewayProcess
    provider: LlmServer

    @property
    def runs(self) -> int:
        """How many runs there have been."""
        return len(self.gateway.get("/api/runs")["runs"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a gateway on a scripted provider."""
    with LlmServer() as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("failing") / "state"
        with GatewayProcess(state, config=config) as gateway:
            yield Place(gateway, provider)


@pytest.fixture
def client(place: Place) -> Iterator[OpenAI]:
    """Open a client that repeats as it does by itself."""
    place.provider.script.clear()
    http = httpx.Client(trust_env=False, timeout=WAIT_S)
    with OpenAI(base_url=f"{place.gateway.url}/v1", api_key=TOKEN, http_client=http) as client:
        yield client


def ask(client: OpenAI, text: str = "hi", *, stream: bool) -> list[str]:
    """Ask and return the pieces of the answer."""
    asked: Any = {"model": "main", "messages": [{"role": "user", "content": text}], "stream": stream}
    answer: Any = client.chat.completions.create(**asked)
    if not stream:
        return [answer.choices[0].message.content]
    return [chunk.choices[0].delta.content or "" for chunk in answer]


def refusal(message: str, code: str = "") -> str:
    """Return a provider's error."""
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}})


@pytest.mark.parametrize("mode", ["plain", "stream"])
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(status=400, body=refusal("out of order")), ("model_failed", "server_error")),
        (Reply(status=401, body=refusal("who are you")), ("model_failed", "server_error")),
        (Reply(status=403, body=refusal("not you")), ("model_failed", "server_error")),
        (Reply(status=404, body=refusal("no such model")), ("model_failed", "server_error")),
        (
            Reply(status=400, body=refusal("too long", "context_length_exceeded")),
            ("context_length_exceeded", "invalid_request_error"),
        ),
        (
            Reply(status=400, body=refusal("not that", "content_filter")),
            ("content_filter", "invalid_request_error"),
        ),
        (Reply(finish_reason="content_filter"), ("content_filter", "invalid_request_error")),
    ],
)
def test_what_would_be_refused_again(
    place: Place, client: OpenAI, reply: Reply, told: tuple[str, str], mode: str
) -> None:
    """What repeating will not change is a 400 in OpenAI's shape, streamed or not, and is asked once."""
    before, asked = place.runs, len(place.provider.requests)
    place.provider.script = [reply]
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, stream=mode == "stream")
    assert (caught.value.code, caught.value.type) == told
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (place.runs - before, len(place.provider.requests) - asked) == (1, 1)


@pytest.mark.parametrize("mode", ["plain", "stream"])
@pytest.mark.parametrize(
    ("status", "kind"), [(429, openai.RateLimitError), (503, openai.InternalServerError)]
)
def test_an_overload_may_be_repeated(
    client: OpenAI, place: Place, status: int, kind: type[openai.APIStatusError], mode: str
) -> None:
    """A provider without room is told as that, with its own Retry-After."""
    place.provider.script = [Reply(status=status, body=refusal("full"), headers={"retry-after": "61"})]
    with pytest.raises(kind) as caught:
        ask(client.with_options(max_retries=0), stream=mode == "stream")
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (status, "61")
    assert "x-should-retry" not in caught.value.response.headers
    assert "".join(ask(client, "/echo hi", stream=mode == "stream")) == "hi"


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_tools_are_not_called_again(place: Place, client: OpenAI, mode: str) -> None:
    """An overload after a tool was called is nothing to repeat: the client would have the tool called again."""
    before = place.runs
    full = Reply(status=503, body=refusal("full"), headers={"retry-after": "61"})
    place.provider.script = [Reply(calls=[("c1", "list_files", "{}")]), full]
    with pytest.raises(openai.APIError) as caught:
        ask(client, stream=mode == "stream")
    assert caught.value.code == "model_busy"
    assert isinstance(caught.value, openai.BadRequestError) == (
        mode == "plain"
    )  # a stream has begun with the call
    assert place.runs - before == 1


def test_a_stream_that_has_begun(place: Place, client: OpenAI) -> None:
    """What fails after the first word is an event of the stream that the client raises."""
    before = place.runs
    place.provider.script = [Reply(text="half an answer", end="cut")]
    heard: list[str] = []
    asked: Any = {"model": "main", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with pytest.raises(openai.APIError) as caught:
        heard.extend(
            chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked)
        )
    assert ("".join(heard), caught.value.code) == ("half an answer", "model_busy")
    assert place.runs - before == 1


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_an_answer_at_the_limit(place: Place, client: OpenAI, mode: str) -> None:
    """An answer that the model had no room to end says so as its reason to finish, and nowhere in its text."""
    place.provider.script = [Reply(text="half an answer", finish_reason="length")]
    asked: Any = {
        "model": "main",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": mode == "stream",
    }
    answer: Any = client.chat.completions.create(**asked)
    if mode == "stream":
        chunks = list(answer)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "half an answer"
        assert chunks[-1].choices[0].finish_reason == "length"
    else:
        assert answer.choices[0].message.content == "half an answer"
        assert answer.choices[0].finish_reason == "length"
    session = place.gateway.get("/api/runs")["runs"][0]["session"]
    assert place.gateway.get(f"/api/sessions/{session}/entries")["entries"][-1]["cut"] is True


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_cached_tokens_are_passed_on(place: Place, client: OpenAI, mode: str) -> None:
    """What the provider had in its cache stands in the usage, summed up over the answers of a run."""
    place.provider.script = [
        Reply(calls=[("c1", "list_files", "{}")], cached_tokens=4),
        Reply(text="done", cached_tokens=5),
    ]
    asked: Any = {
        "model": "main",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": mode == "stream",
    }
    if mode == "stream":
        usage = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))[
            -1
        ].usage
    else:
        usage = client.chat.completions.create(**asked).usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (22, 9)
