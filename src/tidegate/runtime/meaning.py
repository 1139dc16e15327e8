"""What texts mean, as vectors of a model behind an endpoint that speaks as OpenAI's does.

Requests go through the guarded client, which is opened for this one host, as the configuration names it.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from collections.abc import Sequence
from struct import pack
from urllib.parse import urlsplit

import msgspec

from tidegate.config.source import Source
from tidegate.egress.address import Rules, rule
from tidegate.egress.client import Egress
from tidegate.egress.request import Limits, Request
from tidegate.egress.unreachable import Unreachable
from tidegate.errors import ConfigError, ModelBusy, ModelFailed, Refused

MAX_DIMENSIONS = 8_192
MAX_ANSWER_BYTES = 16 << 20
_HINT = "is it the address and the model of [memory] embeddings?"
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


#: between these a sum of squares neither vanishes nor becomes infinite
_SQUARES = (1e-30, 1e30)


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Vector]


_decoder = msgspec.json.Decoder(_Answer)


class Meaning:
    """A model that knows what texts mean.

    Raises:
        ConfigError: Its key is missing, or its address is none.
    """

    def __init__(self, source: Source) -> None:
        self.model = source.name
        self._name = source.model
        self._url = f"{source.base_url.rstrip('/')}/embeddings"
        key = source.api_key()
        self._headers = {"content-type": "application/json"} | (
            {"authorization": f"Bearer {key}"} if key else {}
        )
        self._limits = Limits(seconds=source.timeout_ms / 1_000, max_bytes=MAX_ANSWER_BYTES)
        host = urlsplit(self._url).hostname
        if not host:
            raise ConfigError(f"[memory] embeddings: {source.name!r} has no address", hint=_HINT)
        self._egress = Egress(Rules(allow=[rule(host)]))

    async def of(self, texts: Sequence[str]) -> list[bytes]:
        """Return the vector of each text, as floats of 32 bits.

        Raises:
            ModelBusy: It cannot be reached or has no room now.
            ModelFailed: It refused, or answered nonsense.
        """
        body = msgspec.json.encode({"model": self._name, "input": list(texts)})
        request = Request(url=self._url, method="POST", headers=self._headers, body=body)
        try:
            answer = await self._egress.send(request, self._limits)
        except Unreachable as error:
            raise ModelBusy(f"the model of embeddings cannot be reached: {error}") from error
        except Refused as error:
            raise ModelFailed(f"the model of embeddings cannot be asked: {error}", hint=_HINT) from error
        if answer.status in _BUSY:
            raise ModelBusy(f"the model of embeddings answered {answer.status}")
        if answer.status != 200 or answer.is_cut:
            raise ModelFailed(f"the model of embeddings answered {answer.status}", hint=_HINT)
        return _vectors(answer.body, len(texts))


def _vectors(body: bytes, count: int) -> list[bytes]:
    try:
        found = sorted(_decoder.decode(body).data, key=lambda one: one.index)
        vectors = [pack(f"{len(one.embedding)}f", *one.embedding) for one in found]
    except (msgspec.DecodeError, OverflowError) as error:
        raise ModelFailed("the model of embeddings answered nonsense", hint=_HINT) from error
    if not all(_says_something(one.embedding) for one in found):
        raise ModelFailed("the model of embeddings answered a vector that says nothing", hint=_HINT)
    sizes = {len(one.embedding) for one in found}
    if len(vectors) != count or len(sizes) != 1 or not 0 < max(sizes) <= MAX_DIMENSIONS:
        raise ModelFailed("the model of embeddings answered other texts than it was asked", hint=_HINT)
    return vectors


def _says_something(embedding: Sequence[float]) -> bool:
    """Whether a vector has a direction that can be worked out in floats of 32 bits."""
    square = sum(value * value for value in embedding)
    return not embedding or _SQUARES[0] < square < _SQUARES[1]  # false also for what is no number
