"""Reads every gauge of a gateway at once. What is dear is read once a minute, and carried along in between."""

import asyncio
from collections.abc import Mapping
from itertools import product

import apsw

from tidegate.bounded import Registry
from tidegate.domain.arrival import series_of
from tidegate.domain.session import PolicyName, State
from tidegate.runtime import process
from tidegate.runtime.heap import Heap
from tidegate.store.port import Store
from tidegate.store.sessions import DELETED
from tidegate.store.tally import Tallies
from tidegate.store.tx import Transition

RARELY = 6  # samples
#: the series of what has gone since the start, beside those of what has come (`domain.arrival`)
WENT = "sessions.went"


class Sampler:
    """The gauges of one gateway."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._heap = Heap()
        self._turn = 0
        self._rare: dict[str, int] = {}
        self._lag_us = 0

    def note_lag(self, seconds: float) -> None:
        """Note how late the loop woke; a sample tells the worst since the one before."""
        self._lag_us = max(self._lag_us, int(seconds * 1_000_000))

    async def read(self) -> dict[str, int]:
        """Return every series that is known, by name."""
        if self._turn % RARELY == 0:
            self._rare = await self._read_rare()
        self._turn += 1
        values = self._cheap() | self._rare
        values["loop_lag_us"], self._lag_us = self._lag_us, 0
        # counts up for ever, so that it is no state of this moment
        values |= {series_of(name): self._store.born.get(name, 0) for name in PolicyName}
        values[WENT] = went(self._store.transitions)
        return values

    async def look(self) -> dict[str, int]:
        """Return every series but the lag as it is this moment, whatever the next sample will tell."""
        return self._cheap() | await self._read_rare()

    def _cheap(self) -> dict[str, int]:
        values = self._memory() | counts(self._store.tallies())
        return values | {f"container.{gauge.name}": gauge.entries for gauge in self._registry}

    def _memory(self) -> dict[str, int]:
        memory = process.memory()
        values = {"rss_bytes": memory.rss, "threads": memory.threads, "sqlite_bytes": apsw.memory_used()}
        heap = self._heap.held_bytes()
        if heap is not None:
            values["python_heap_bytes"] = heap
        if memory.anonymous is not None:
            values["anonymous_bytes"] = memory.anonymous
        if memory.anonymous is not None and heap is not None:
            values["native_gap_bytes"] = memory.anonymous - heap
        return values

    async def _read_rare(self) -> dict[str, int]:
        storage = await self._store.storage()
        files = process.open_files()
        return {
            "live_bytes": storage.live,
            "main_bytes": storage.main,
            "wal_bytes": storage.wal,
            "free_bytes": storage.free,
            "tasks": len(asyncio.all_tasks()),
            **({} if files is None else {"files": files}),
        }


def went(transitions: Mapping[Transition, int]) -> int:
    """Return how many sessions have gone since the start."""
    return sum(count for one, count in transitions.items() if one.after == DELETED)


def counts(tallies: Tallies) -> dict[str, int]:
    """Return what the store counts, by the names of the series."""
    values = {
        "blob_bytes": tallies.blob_bytes,
        "segment_bytes": tallies.segment_bytes,
        "receipts": tallies.receipts,
        "job_spends": tallies.job_spends,
        "snapshots": tallies.snapshots,
        "jobs": sum(tallies.jobs.values()),
        "facts": sum(count for count, _ in tallies.facts.values()),
        "fact_bytes": sum(size for _, size in tallies.facts.values()),
    }
    for name, state in product(PolicyName, State):
        count, size = tallies.sessions[name, state]
        for series, value in (
            (f"sessions.{name.kind}.{state}", count),
            (f"sessions.{name.kind}_bytes", size),
        ):
            values[series] = values.get(series, 0) + value
    values |= {f"runs.{lane}.{state}": count for (lane, state), count in tallies.runs.items()}
    values |= {f"outbox.{state}": count for state, count in tallies.outbox.items()}
    return values | {f"approvals.{state}": count for state, count in tallies.approvals.items()}
