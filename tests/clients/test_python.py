"""Clients in Python as they are published: OpenAI's own, LangChain's and OpenAI's agents."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from client_place import REFUSED, ClientPlace, library
from gateway_process import TOKEN
from llm_server import WAIT_S, Reply

pytestmark = pytest.mark.filterwarnings("ignore")  # what the clients warn of is theirs

TURNS = 4
ANSWERS = [f"answer {turn}" for turn in range(1, TURNS + 1)]
Stream = Callable[[ClientPlace, list[Any], str], Iterator[str]]


def openai_stream(place: ClientPlace, history: list[Any], text: str) -> Iterator[str]:
    """Say something with OpenAI's client, which leaves the history to its user."""
    history.append({"role": "user", "content": text})
    said = ""
    with openai.OpenAI(base_url=place.base_url, api_key=TOKEN) as client:
        asked: Any = {"model": "main", "messages": history, "stream": True}
        for chunk in client.chat.completions.create(**asked):
            said += chunk.choices[0].delta.content or ""
            yield chunk.choices[0].delta.content or ""
    history.append({"role": "assistant", "content": said})


def helper_stream(place: ClientPlace, history: list[Any], text: str) -> Iterator[str]:
    """Say something with the streaming helper of OpenAI's client, whose final message goes back as it is."""
    history.append({"role": "user", "content": text})
    client = openai.OpenAI(base_url=place.base_url, api_key=TOKEN)
    with client, client.chat.completions.stream(model="main", messages=history) as stream:
        for event in stream:
            if event.type == "content.delta":
                yield event.delta
        history.append(stream.get_final_completion().choices[0].message.model_dump())


def langchain_stream(place: ClientPlace, history: list[Any], text: str) -> Iterator[str]:
    """Say something with LangChain, which keeps the pieces of an answer added up."""
    chat = library("langchain_openai").ChatOpenAI(
        base_url=place.base_url, api_key=TOKEN, model="main", temperature=0.1, stream_usage=True
    )
    history.append(("user", text))
    answer = None
    for piece in chat.stream(history):
        answer = piece if answer is None else answer + piece
        yield piece.content
    history.append(answer)


def agents_stream(place: ClientPlace, history: list[Any], text: str) -> Iterator[str]:
    """Say something with OpenAI's agents, which keep the history as items of their own."""
    agents = library("agents")
    agents.set_tracing_disabled(True)
    history.append({"role": "user", "content": text})

    async def say() -> list[str]:
        async with openai.AsyncOpenAI(base_url=place.base_url, api_key=TOKEN) as client:
            model = agents.OpenAIChatCompletionsModel(model="main", openai_client=client)
            agent = agents.Agent(name="tide", instructions="be brief", model=model)
            result = agents.Runner.run_streamed(agent, input=list(history))
            heard = [
                event.data.delta
                async for event in result.stream_events()
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
            ]
            history[:] = result.to_input_list()
            return heard

    yield from asyncio.run(say())


STREAMS = [openai_stream, helper_stream, langchain_stream, agents_stream]


@pytest.mark.parametrize("stream", STREAMS)
def test_four_turns(place: ClientPlace, stream: Stream) -> None:
    """Four streamed turns with the history that the client keeps: each answer comes alone, and is read once."""
    history: list[Any] = []
    before = place.runs
    heard = ["".join(stream(place, history, f"/echo answer {turn}")) for turn in range(1, TURNS + 1)]
    assert heard == ANSWERS
    assert place.runs - before == TURNS
    place.check_history(TURNS)


@pytest.mark.parametrize("stream", STREAMS[:3])
def test_a_client_that_leaves(place: ClientPlace, stream: Stream) -> None:
    """A client that leaves in the middle of an answer is answered the next time as ever."""
    gate = threading.Event()
    place.provider.script = [Reply(text="the tide is high", gate=gate)]
    leaving: Any = stream(place, [], "hi")
    try:
        assert next(piece for piece in leaving if piece)
        leaving.close()
    finally:
        gate.set()
    assert "".join(stream(place, [], "/echo hi again")) == "hi again"


@pytest.mark.parametrize("stream", STREAMS)
def test_an_error_is_not_repeated(place: ClientPlace, stream: Stream) -> None:
    """What the provider will refuse again is raised at once: one run, one question to the model."""
    place.provider.script = [REFUSED] * 3
    before = place.runs
    with pytest.raises(openai.BadRequestError) as caught:
        list(stream(place, [], "hi"))
    assert caught.value.code == "model_failed"
    assert (place.runs - before, len(place.provider.requests)) == (1, 1)


@asynccontextmanager
async def async_client(place: ClientPlace) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open OpenAI's asynchronous client."""
    async with openai.AsyncOpenAI(base_url=place.base_url, api_key=TOKEN, timeout=WAIT_S) as client:
        yield client


async def _as_in_the_book(place: ClientPlace) -> None:
    asked: Any = {"model": "main", "messages": [{"role": "user", "content": "/echo hi"}]}
    async with async_client(place) as client:
        raw = await client.chat.completions.with_raw_response.create(**asked)
        assert raw.headers["content-type"] == "application/json"
        assert raw.parse().choices[0].message.content == "hi"
        async with client.chat.completions.with_streaming_response.create(**asked) as response:
            assert (await response.parse()).usage.total_tokens > 0
        chunks = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hi"
        answers = [client.chat.completions.create(**asked) for _ in range(4)]
        assert [(await answer).choices[0].message.content for answer in answers] == ["hi"] * 4
        assert (await client.models.retrieve("main")).id == "main"
        assert [model.id async for model in client.models.list()] == ["main"]


def test_as_in_the_book(place: ClientPlace) -> None:
    """The asynchronous client, raw and streamed responses and models work as OpenAI's own examples use them."""
    asyncio.run(_as_in_the_book(place))
