import struct
from collections.abc import Iterator

import pytest

from embedding_server import EmbeddingServer, vector
from tidegate.config import Config
from tidegate.config.source import source
from tidegate.config.tree import Provider
from tidegate.errors import ModelBusy, ModelFailed
from tidegate.runtime.meaning import Meaning

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
