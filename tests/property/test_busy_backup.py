"""Backups of a store that is written to all the while, by several sessions, a sweep and whoever deletes."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extent import share
from house import sqlite
from living import MEMORY
from tidegate.domain.entry import decode
from tidegate.domain.session import PolicyName
from tidegate.store import backup, scrub
from tidegate.store.backup import Rules, back_up
from tidegate.store.connection import open_reader
from tidegate.store.port import Store
from tidegate.store.sqlite import NAME
from work import archive, delete, offer, work

WRITERS = 3
EXAMPLES = share(8)


class Talk:
    """Everything that the store has acknowledged in one session."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.acknowledged: list[str] = []

    async def go_on(self, store: Store, sizes: list[int], stop: asyncio.Event) -> None:
        """Write until told to stop; between two messages other sessions come and go."""
        number = 0
        while not stop.is_set():
            text = f"{number}:" + "x" * sizes[number % len(sizes)]
            await work(store, offer(key=self.key, text=text))
            self.acknowledged.append(text)
            number += 1
            other = await work(store, offer(PolicyName.API, text="y" * 90_000))
            if number % 2:
                await delete(store, await archive(store, other))


def told(path: Path, key: str) -> list[str]:
    """Return the messages of one session in a backup, in order."""
    connection = open_reader(path)
    scrub.verify(connection)
    rows = connection.execute(
        "SELECT e.body FROM entries e JOIN sessions s ON s.id = e.session WHERE s.key = ? ORDER BY e.seq",
        (key,),
    ).fetchall()
    connection.close()
    bodies = [decode(bytes(row[0])) for row in rows]  # type: ignore[arg-type]  # blobs are bytes
    return [body.text for body in bodies if body.text != "done"]


async def backed_up(folder: Path, sizes: list[int], pauses: list[int]) -> None:
    """Back up again and again beside the writers, and compare each copy with what was acknowledged before it."""
    async with sqlite(folder) as house, asyncio.TaskGroup() as tasks:
        stop = asyncio.Event()
        talks = [Talk(f"talk-{number}") for number in range(WRITERS)]
        for talk in talks:
            tasks.create_task(talk.go_on(house.store, sizes, stop))
        try:
            for number, pause in enumerate(pauses):
                for _ in range(pause):
                    await work(house.store, offer(PolicyName.API))
                before = {talk.key: list(talk.acknowledged) for talk in talks}
                target = folder / f"{number}.db"
                await anyio.to_thread.run_sync(partial(back_up, house.folder / NAME, target, Rules()))
                for talk in talks:
                    found = told(target, talk.key)
                    assert before[talk.key] == found[: len(before[talk.key])]
        finally:
            stop.set()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=4),
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.sampled_from([1, 7, 2_000]),
)
def test_a_backup_holds_what_was_acknowledged(sizes: list[int], pauses: list[int], slice_pages: int) -> None:
    """Taken at any moment beside busy writers it verifies, and holds each message acknowledged before it began."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
    ):
        patch.setattr(backup, "SLICE_PAGES", slice_pages)
        asyncio.run(backed_up(Path(folder), sizes, pauses))
