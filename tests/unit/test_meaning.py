import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_server import EmbeddingServer, vector
from house import sqlite
from tidegate.config import Config
from tidegate.config.source import source
from tidegate.config.tree import Provider
from tidegate.domain.fact import Note
from tidegate.errors import ModelBusy, ModelFailed
from tidegate.runtime.meaning import Meaning
from tidegate.store.recall import Question

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    """Run a model of embeddings."""
    with EmbeddingServer() as running:
        yield running


def meaning(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> Meaning:
    """Return a client of the server."""
    monkeypatch.setenv("BOX_KEY", "a-key")
    box = Provider(base_url=server.base_url, api_key_env="BOX_KEY")
    return Meaning(source(Config(providers={"box": box}), "box/tiny"))


async def test_texts_get_their_vectors(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text gets its own, in whatever order they come; the key goes along."""
    found = await meaning(server, monkeypatch).of(["a cat", "some tea"])
    assert [struct.pack("3f", *vector("a cat")), struct.pack("3f", *vector("some tea"))] == found
    ((path, headers, texts),) = server.requests
    assert ("/v1/embeddings", "Bearer a-key", ["a cat", "some tea"]) == (
        path,
        headers["authorization"],
        texts,
    )


@pytest.mark.parametrize(
    "body",
    [
        "nonsense",
        "{}",
        '{"data": []}',
        '{"data": [{"embedding": []}]}',
        '{"data": [{"embedding": ["x"]}]}',
        '{"data": [{"embedding": [1e999]}]}',
        '{"data": [{"embedding": [NaN]}]}',
        '{"data": [{"embedding": [0, 0]}]}',
        '{"data": [{"embedding": [1e-30, 0]}]}',
        '{"data": [{"embedding": [1e38, 1e38]}]}',
        '{"data": [{"embedding": [1]}, {"embedding": [1]}]}',
    ],
)
async def test_nonsense_is_refused(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    """Whatever comes that is no vector for each text is no answer."""
    server.body = body
    with pytest.raises(ModelFailed, match="embeddings answered"):
        await meaning(server, monkeypatch).of(["a cat"])


@pytest.mark.parametrize(("status", "kind"), [(503, ModelBusy), (429, ModelBusy), (401, ModelFailed)])
async def test_a_refusal(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[ModelFailed]
) -> None:
    """What may help later is told apart from what will not."""
    server.status, server.body = status, "{}"
    with pytest.raises(ModelFailed) as failure:
        await meaning(server, monkeypatch).of(["a cat"])
    assert kind is type(failure.value)


async def test_a_stored_vector_that_says_nothing(tmp_path: Path) -> None:
    """It has no distance to a question, which finds the fact by its words, and others by their meaning."""
    async with sqlite(tmp_path) as house:
        house.store.load_vectors()
        facts = house.store.facts
        silent = (await facts.remember("main", Note(text="a cat is here"))).fact
        other = (await facts.remember("main", Note(text="tom sleeps"))).fact
        await facts.keep_vectors("m", [(silent, struct.pack("2f", 0, 0)), (other, struct.pack("2f", 1, 0))])
        vector = struct.pack("2f", 1, 0)
        question = Question(
            agent="main", text="cat", now=house.clock.now(), limit=5, model="m", vector=vector
        )
        assert {fact.text for fact in await facts.search(question)} == {"a cat is here", "tom sleeps"}
