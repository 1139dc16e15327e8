"""From a name to its addresses, as the system resolves it."""

import socket
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

LOOKUPS_AT_ONCE = 8

#: takes a name or an address, answers addresses; an OSError says that there are none
Resolver = Callable[[str], Awaitable[Sequence[str]]]


def system_resolver() -> Resolver:
    """Return a resolver that asks the system, in threads, since it knows no other way.

    Cancellation: leaves the thread to its end, which the system's own time limit sets.
    """
    threads = anyio.CapacityLimiter(LOOKUPS_AT_ONCE)

    async def resolve(host: str) -> Sequence[str]:
        def look() -> list[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(one[4][0]) for one in found))

        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=threads)

    return resolve
