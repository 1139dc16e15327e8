import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from tidegate.bounded import Registry
from tidegate.clock import ManualClock
from tidegate.edge.bodies import Bodies
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.peers import Door
from tidegate.edge.server import application
from tidegate.errors import SessionNotFound
from tidegate.faults import Area, Faults
from tidegate.redaction import Redaction
from tidegate.runtime.guard import Guard

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - it opens nothing
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}


@pytest.mark.parametrize(
    ("failure", "status", "counted"),
    [(KeyError("odd"), 500, 1), (SessionNotFound(), 404, 0), (MemoryError(), 429, 0)],
    ids=["ours", "refused", "memory"],
)
def test_a_handler_that_fails_is_answered(failure: Exception, status: int, counted: int) -> None:
    """It never comes through to the server, which would close the connection; what is our fault is counted."""

    async def fail(_: Request) -> Response:
        raise failure

    clock, registry = ManualClock(), Registry()
    faults = Faults(clock)
    app = application(
        [Endpoint(method="GET", path="/fail", handler=fail, summary="Fail")],
        door=Door(TOKEN, clock, registry, behind_proxy=False),
        hosts=[],
        bodies=Bodies(1 << 30, Guard(), registry),
        count_refusal=lambda _: None,
        redaction=Redaction(),
        faults=faults,
    )

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app)  # which raises what comes through
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/fail", headers=HEADERS)

    answer = asyncio.run(main())
    assert answer.status_code == status
    assert "error" in answer.json()
    assert faults.report()[Area.REQUEST]["count"] == counted  # type: ignore[index]
