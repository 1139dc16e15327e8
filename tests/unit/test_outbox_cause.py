from pathlib import Path

import pytest

from desk import opened
from tidegate.errors import WrongState
from tidegate.store import outbox
from tidegate.store.tx import Tx

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


async def test_it_goes_with_its_cause(tmp_path: Path) -> None:
    """What is put in a transaction that fails does not exist, and nobody is told; in one that succeeds it does."""

    def put(tx: Tx) -> str:
        return outbox.put(tx, "pager", "test.said", "hello") or ""

    def put_and_fail(tx: Tx) -> str:
        put(tx)
        raise WrongState

    async with opened(tmp_path) as desk:
        with pytest.raises(WrongState):
            await desk.writer.write(put_and_fail)
        assert [effects for effects in desk.told if effects.posted] == []
        name = await desk.writer.write(put)
        assert [effects.posted for effects in desk.told if effects.posted] == [{"pager"}]
        rows = await desk.writer.write(lambda tx: tx.all("outbox_page", before=1 << 60, state=None, limit=10))
        assert [row[1] for row in rows] == [name]
