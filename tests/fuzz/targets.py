"""What reads words from outside, each as a function of bytes: it returns whatever comes, and raises for a fault alone.

A fault is any exception that the reader does not promise, or a result that is not what was written.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from itertools import islice
from types import MappingProxyType

import httpx2

from tidegate import cron, signature, strict_json, template, units
from tidegate.agent import distillation
from tidegate.agent.limit import Flood, limit
from tidegate.agent.skills import document
from tidegate.domain import relevance
from tidegate.edge import wire
from tidegate.edge.openai import ChatIn
from tidegate.egress import address, body, url
from tidegate.egress.unreachable import Unreachable
from tidegate.errors import BadRequest, TidegateError
from tidegate.signature import Signed
from tidegate.strict_json import MAX_DEPTH, MAX_VALUES, NotStrict

CHUNK_BYTES = 7
YEAR_2026 = 1_767_225_600_000


class Chunks(httpx2.AsyncByteStream):
    """Bytes as they come from a network, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), CHUNK_BYTES):
            yield self._data[at : at + CHUNK_BYTES]


def json_text(data: bytes) -> None:
    """Strict JSON: what is read is what everybody reads."""
    with suppress(NotStrict):
        value = strict_json.read(data)
        assert value == json.loads(data)
        assert strict_json.read(json.dumps(value).encode()) == value


def json_count(data: bytes) -> None:
    """The count of values is never too low, so that nothing large passes as something small."""
    text = data.decode("latin-1")
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        with suppress(NotStrict):
            assert _values(value) <= strict_json.count(text, MAX_VALUES)


def chat_body(data: bytes) -> None:
    """A request as OpenAI's clients send it."""
    with suppress(BadRequest):
        wire.decoded(data, ChatIn)


def event_stream(data: bytes) -> None:
    """A provider's stream: what is handed on is what came, up to where it is too much."""

    async def read() -> None:
        response = httpx2.Response(200, stream=Chunks(data))
        await limit(response)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        with suppress(Flood):
            assert data == b"".join([piece async for piece in response.stream])

    asyncio.run(read())


def packed_body(data: bytes) -> None:
    """The body of a web page, packed or not: never more than its limit."""

    async def read(encoding: str) -> None:
        with suppress(Unreachable):
            found, _ = await body.read(aiter(Chunks(data)), encoding, 1_000)
            assert len(found) <= 1_000

    for encoding in ("gzip", ""):
        asyncio.run(read(encoding))


def skill(data: bytes) -> None:
    """A SKILL.md."""
    found = document.read(data, "some-skill/SKILL.md")
    assert found.skill is not None or found.problems


def hook_template(data: bytes) -> None:
    """The template of a hook, filled with itself."""
    text = data.decode(errors="replace")
    with suppress(ValueError, TidegateError):
        template.fill(template.parse(text), {"a": [text]}, text, str, 10_000)


def hook_signature(data: bytes) -> None:
    """The headers of a hook: nobody without the secret is let in."""
    message_id, _, rest = data.decode("latin-1").partition("\n")
    timestamp, _, given = rest.partition("\n")
    try:
        signed = Signed(id=message_id, timestamp=timestamp, signature=given)
        signature.verify([b"k" * 24], signed, b"body", 0)
    except TidegateError:
        pass
    else:
        raise AssertionError("a forged signature was taken")
    with suppress(ValueError):
        signature.secret(data.decode("latin-1"))


def cron_expression(data: bytes) -> None:
    """A cron expression: its instants rise."""
    expression, _, zone = data.decode(errors="replace").partition("\n")
    with suppress(ValueError):
        cron.check(expression, zone or "UTC")
        found = list(islice(cron.instants(expression, zone or "UTC", YEAR_2026), 3))
        assert sorted(set(found)) == found


def measures(data: bytes) -> None:
    """Durations, sizes and money."""
    text = data.decode(errors="replace")
    for read in (units.duration_ms, units.size_bytes, units.money_micros):
        with suppress(ValueError):
            assert read(text) >= 0


def web_address(data: bytes) -> None:
    """A URL and where it leads: read again, it is the same."""
    text = data.decode(errors="replace")
    base = url.read("https://example.com/a/b?c")
    for read in (url.read, lambda location: url.joined(base, location)):
        with suppress(TidegateError):
            found = read(text)
            assert url.read(str(found)) == found
    for part in (address.rule, address.name, address.plain):
        with suppress(ValueError):
            part(text)


def facts(data: bytes) -> None:
    """What a model wants remembered: no more than there may be."""
    text = data.decode(errors="replace")
    assert len(distillation.notes(text)) <= distillation.MAX_NOTES
    distillation.lines(text)


def question(data: bytes) -> None:
    """The words of a question to the memory: bounded, and each a word."""
    found = relevance.terms(data.decode(errors="replace"))
    assert len(found) <= relevance.MAX_TERMS
    assert all(word and '"' not in word for word in found)


#: by the name of its corpus
TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        target.__name__: target
        for target in (
            json_text,
            json_count,
            chat_body,
            event_stream,
            packed_body,
            skill,
            hook_template,
            hook_signature,
            cron_expression,
            measures,
            web_address,
            facts,
            question,
        )
    }
)


def _values(value: object, depth: int = 0) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_values(one, depth + 1) for one in below) if depth <= MAX_DEPTH else 1
