"""Who may write to a run: whoever holds its lease, as long as nobody has raised its fence."""

from tidegate.domain.run import Lease, RunState
from tidegate.errors import FenceLost
from tidegate.store.rows import Row
from tidegate.store.tx import Tx


def held(tx: Tx, lease: Lease) -> Row:
    """Return the row of a run that a lease still holds.

    Raises:
        FenceLost: The run has been taken over or closed, or it waits.
    """
    row = tx.one("run_by_id", id=lease.run)
    if row is None or row[5] != RunState.RUNNING or row[8] != lease.fence:
        raise FenceLost
    return row
