from pathlib import Path

import anyio

from inside import inside
from tidegate.domain.session import PolicyName
from tidegate.soak.leak import LEAK_BYTES, Leak


def test_a_leak_keeps_a_kib_of_each_session(tmp_path: Path) -> None:
    """Of each that is made, once, however much is said in it and whatever becomes of it."""

    async def grow() -> list[int]:
        found = []
        async with inside(tmp_path) as gateway:
            leak = Leak()
            gateway.store.listen(leak.on_commit)
            for key in ("t:1", "t:1", "t:2"):
                await gateway.say(key, "/echo x")
                found.append(leak.kept_bytes)
            await gateway.ask(PolicyName.API, "/echo x")
            return [*found, leak.kept_bytes]

    assert [LEAK_BYTES * count for count in (1, 1, 2, 3)] == anyio.run(grow)
