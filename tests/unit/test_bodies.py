import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
from starlette.types import Message, Receive

from tidegate.bounded import Registry
from tidegate.edge.bodies import LEAST_BYTES, SMALL_BYTES, Bodies
from tidegate.errors import MemoryShort
from tidegate.runtime.guard import Guard


def bringing(parts: Sequence[int]) -> Receive:
    """Return a request whose body comes in parts of these sizes."""
    left = list(parts)

    async def receive() -> Message:
        size = left.pop(0)
        return {"type": "http.request", "body": b"x" * size, "more_body": bool(left)}

    return receive


def test_bodies_are_bounded_together() -> None:
    """Large bodies may have half of the room, small ones the rest; what is over is given back, refused or not."""

    async def main() -> None:
        registry, guard = Registry(), Guard()
        bodies = Bodies(0, guard, registry)
        half = LEAST_BYTES // 2
        with ExitStack() as held:
            large = held.enter_context(bodies.counted(bringing([half - 1, 1, 1])))
            await large()
            await large()
            with pytest.raises(MemoryShort) as refused:
                await large()
            for _ in range(half // SMALL_BYTES):
                await held.enter_context(bodies.counted(bringing([SMALL_BYTES])))()
            with pytest.raises(MemoryShort):
                await held.enter_context(bodies.counted(bringing([1])))()
            (gauge,) = registry

            assert (LEAST_BYTES, LEAST_BYTES) == (gauge.entries, gauge.limit)
            assert (429, 1) == (refused.value.status, refused.value.retry_after_s)
            assert 2 == guard.refused["memory_short"]
        assert 0 == bodies.bytes

    asyncio.run(main())


@pytest.mark.parametrize(
    ("memory", "room"), [(128 << 20, 16 << 20), (256 << 20, 32 << 20), (8 << 30, 64 << 20)]
)
def test_the_room_follows_the_memory(memory: int, room: int) -> None:
    """An eighth of the memory, within reason."""
    assert room == Bodies(memory, Guard(), Registry()).max_bytes
