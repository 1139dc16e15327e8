"""The skills that agents have now: looked at all the time, offered to each session at its admission.

Places are looked at several times a second by asking each file for its date and size, since that needs no library, no
thread of its own and no limit of the kernel, and sees folders that come later, links and remote disks alike. What has
changed is taken over once two looks in a row find the same, so that half of a checkout is not.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from tidegate import log
from tidegate.agent.skills import shelf
from tidegate.agent.skills.choice import Choice, choose
from tidegate.agent.skills.reach import Reach
from tidegate.agent.skills.shelf import Shelf
from tidegate.bounded import Registry
from tidegate.domain.snapshot import SkillRef, snapshot_of
from tidegate.faults import Area, Faults
from tidegate.ids import BlobHash
from tidegate.store.admission import Offer
from tidegate.threads import on_thread

T = TypeVar("T")

LOOK_EVERY_S = 0.4
SLOW_LOOK_EVERY_S = 0.6  # where a look takes long
LOOK_SHARE = 100  # looks take at most this part of the time, above the first and up to the second pause
SETTLE_S = 0.1  # between two looks at what is changing,
SETTLE_TIMES = 3  # so often at most

_log = log.get("skills")


class Skills:
    """What each agent has now; `load` once before it is asked, `serve` to follow what changes."""

    def __init__(
        self, reaches: Mapping[str, Reach], registry: Registry, faults: Faults | None = None
    ) -> None:
        self._reaches = reaches
        self._faults = faults or Faults()
        self._shelf = Shelf([place for reach in reaches.values() for place in reach.places])
        self._choices: Mapping[str, Choice] = {}
        self._is_behind = False
        self._limiter = anyio.CapacityLimiter(1)
        registry.add(
            "skill_folders",
            lambda: len(self._shelf),
            self._shelf.limit,
            when_full="no more are read of that place, and a problem says so",
        )

    async def load(self) -> None:
        """Read what is there."""
        await self._in_thread(self._shelf.look)
        await self._take_over()

    async def serve(self) -> None:
        """Follow what changes, for ever."""
        loop = asyncio.get_running_loop()
        pause_s = LOOK_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            started = loop.time()
            with self._faults.turn(Area.SKILLS) as turn:
                await self._look()
            await turn.rest()
            took_s = loop.time() - started
            pause_s = max(LOOK_EVERY_S, min(SLOW_LOOK_EVERY_S, LOOK_SHARE * took_s))

    async def _look(self) -> None:
        if await self._in_thread(self._shelf.look) or self._is_behind:
            self._is_behind = True  # until what has changed was taken over
            await self._settle()
            await self._take_over()
            self._is_behind = False
            _log.info("skills_changed", folders=len(self._shelf))

    def choice(self, agent: str) -> Choice:
        """Return what an agent has; the same object until something changes."""
        return self._choices.get(agent, Choice())

    def offer(self, agent: str) -> Offer | None:
        """Return what a session of an agent may have, without the bytes; nothing for an agent that is not known."""
        choice = self._choices.get(agent)
        return Offer(agent=agent, snapshot=choice.snapshot) if choice is not None else None

    async def stocked(self, agent: str, wanted: Collection[BlobHash] | None = None) -> Offer:
        """Return the offer with the bytes of the wanted blobs, by default of all.

        A skill that is just being changed, so that its bytes cannot be had, is left out of the offer.
        """
        return await self._in_thread(partial(_stocked, agent, self.choice(agent), wanted))

    def description(self, agent: str, ref: SkillRef) -> str | None:
        """Return the description of a skill of an agent if it is there with the very bytes of *ref*."""
        listing = self.choice(agent).used.get(ref.name)
        return (
            listing.book.skill.description
            if listing and listing.book.hash == ref.blob and listing.book.skill
            else None
        )

    def folder(self, agent: str, name: str) -> Path | None:
        """Return where a skill of an agent lies; nothing if it is not there any more."""
        listing = self.choice(agent).used.get(name)
        return Path(listing.book.path) if listing else None

    async def _settle(self) -> None:
        for _ in range(SETTLE_TIMES):
            await asyncio.sleep(SETTLE_S)
            if not await self._in_thread(self._shelf.look):
                return

    async def _take_over(self) -> None:
        self._choices = await self._in_thread(self._choose)

    def _choose(self) -> Mapping[str, Choice]:
        return {
            name: choose(self._shelf, reach.places, reach.allowed) for name, reach in self._reaches.items()
        }

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await on_thread(work, self._limiter)


def _stocked(agent: str, choice: Choice, wanted: Collection[BlobHash] | None) -> Offer:
    bodies: dict[BlobHash, bytes] = {}
    refs: list[SkillRef] = []
    for listing in choice.listings:
        name = listing.book.hash
        if name is None or not listing.is_used:
            continue
        if wanted is None or name in wanted:
            body = shelf.body_of(listing.place, listing.book)
            if body is None:
                continue
            bodies[name] = body
        refs.append(SkillRef(listing.name, name))
    return Offer(agent=agent, snapshot=snapshot_of(refs), bodies=bodies)
