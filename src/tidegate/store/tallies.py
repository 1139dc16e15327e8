"""The counts that triggers keep, compared with what is there.

Each family has one query ``recount_FAMILY`` that counts the rows themselves: label, state, count and bytes. A table
with a tally joins in by its query and its name in `FAMILIES`.
"""

from typing import NamedTuple

from tidegate.store.tx import Reads, Tx

FAMILIES = (
    "session",
    "run",
    "blob",
    "reference",
    "segment",
    "receipt",
    "approval",
    "snapshot",
    "job",
    "firing",
    "outbox",
    "job_spend",
    "fact",
)


class Count(NamedTuple):
    """One tally."""

    family: str
    label: str
    state: str
    number: int
    size: int


def wrong(reads: Reads) -> "list[Count]":
    """Return, as they should be, the tallies that are not."""
    kept = {count[:3]: count for count in map(Count._make, reads.all("tallies"))}
    counted = {count[:3]: count for family in FAMILIES for count in _recount(reads, family)}
    absent = (Count(*place, 0, 0) for place in kept if place[0] in FAMILIES and place not in counted)
    return [count for count in (*counted.values(), *absent) if kept.get(count[:3]) != count]


def recount(tx: Tx) -> int:
    """Correct every tally that is wrong, and return how many were."""
    found = wrong(tx)
    for count in found:
        tx.run("tally_corrected", **count._asdict())
    return len(found)


def _recount(reads: Reads, family: str) -> list[Count]:
    return [Count(family, *row) for row in reads.all(f"recount_{family}")]
