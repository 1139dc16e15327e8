"""Counts of what has lost its owner. Foreign keys make that impossible; this looks whether they were kept.

Owners are looked up once each, by skipping through the index, so that the cost follows the number of sessions with
rows, not the number of rows.
"""

from tidegate.store.tx import Reads

TYPES = (
    "entry",
    "segment",
    "run",
    "child",
    "blob",
    "chunk",
    "reference",
    "trim",
    "approval",
    "spawn",
    "wait",
    "firing",
    "snapshot",
    "skill",
    "fact",
    "vector",
    "flush",
)


def count(reads: Reads) -> dict[str, int]:
    """Return the number of orphans of each type, every type present."""
    found: dict[str, int] = {}
    for name in TYPES:
        row = reads.one(f"orphans_{name}")
        found[name] = int(row[0]) if row else 0
    return found
