from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from house import HOUSES, House


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests of the contract in asyncio's own loop."""
    return "asyncio"


@pytest.fixture(params=sorted(HOUSES))
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """Open each store in turn on empty data."""
    async with HOUSES[request.param](tmp_path) as opened:
        yield opened
