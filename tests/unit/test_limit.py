import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest

from tidegate.agent.limit import (
    MAX_ANSWER_CHARS,
    MAX_ERROR_BYTES,
    MAX_EVENT_BYTES,
    MAX_EVENT_LINES,
    MAX_EVENT_VALUES,
    TURN_BYTES,
    Flood,
    Room,
    limit,
)


class Chunks(httpx2.AsyncByteStream):
    """What comes from the network, a chunk at a time."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def _read(chunks: Sequence[bytes], status: int = 200) -> tuple[list[bytes], int]:
    """Return the pieces that a client gets, and how many turns everybody else had meanwhile."""
    response = httpx2.Response(status, stream=Chunks(chunks))
    await limit(response)
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    turn()
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    return [piece async for piece in response.stream], turns


@pytest.mark.parametrize("size", [1, TURN_BYTES, 100 * TURN_BYTES])
def test_others_have_a_turn_between_two_pieces(size: int) -> None:
    """However much comes at once, a client gets little at a time, and all of it."""
    data = (b":\n\n" * size)[:size]
    pieces, turns = asyncio.run(_read([data]))
    assert data == b"".join(pieces)
    assert max(map(len, pieces)) <= TURN_BYTES
    assert turns >= len(pieces)


@pytest.mark.parametrize("size", [61, 1_000, 2_000_000])
@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (b'data: {"a": "' + b"[,{" * 4_000 + b'"}\r\n\r\n' + b"data: 1\n\n", True),
        (b'data: {"a": "' + b'\\"[,{' * 4_000 + b'"}\r\r', True),
        (b': "\ndata: [' + b"0," * MAX_EVENT_VALUES + b"0]\n\n", False),
        (b"data: [" + b"0," * MAX_EVENT_VALUES + b"0]\r\n\r\n", False),
        (b"data: [" + b"0," * (MAX_EVENT_VALUES - 9) + b"0]\n\n" + b"data: [0,0,0,0,0,0,0,0,0]\n\n", True),
        (b"data:\n" * MAX_EVENT_LINES + b"\n", True),
        (b"data:\n" * (MAX_EVENT_LINES + 2), False),
        (b"data:\r\n" * (MAX_EVENT_LINES + 2), False),
        (b"a" * MAX_EVENT_BYTES, True),
        (b"a" * (MAX_EVENT_BYTES + 1), False),
    ],
)
def test_an_event_is_bounded_however_it_is_cut_into_chunks(data: bytes, size: int, is_taken: bool) -> None:  # noqa: FBT001 - a parameter
    """Values are counted outside texts, in each event by itself."""
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    if is_taken:
        assert data == b"".join(asyncio.run(_read(chunks))[0])
    else:
        with pytest.raises(Flood):
            asyncio.run(_read(chunks))


def test_an_error_is_short() -> None:
    """Its body is read whole."""
    assert asyncio.run(_read([b"x" * MAX_ERROR_BYTES], 500))
    with pytest.raises(Flood):
        asyncio.run(_read([b"x" * MAX_ERROR_BYTES, b"x"], 500))


def test_what_there_is_room_for() -> None:
    """The last character fits, the next one does not."""
    room = Room()
    room.take(MAX_ANSWER_CHARS)
    with pytest.raises(Flood, match="4 million characters"):
        room.take(1)
