"""Whatever lives as long as the gateway holds a bounded number of things: its live objects are walked at work."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from extent import share
from tidegate.app import Gateway, gateway, listen
from tidegate.bounded import Gauge
from tidegate.clock import MINUTE_MS, SystemClock
from tidegate.config import Config
from tidegate.folder import prepare
from tidegate.runtime.explainer import Explainer
from tidegate.soak import virtual
from tidegate.soak.course import Course, Now
from tidegate.soak.everyday import SESSIONS_A_WAVE, Everyday
from tidegate.soak.virtual import VirtualClock, VirtualLoop
from walker import Sizes, grown, sizes

pytestmark = pytest.mark.serial

SESSIONS = share(2_800)  # with fewer, some series are still filling at half-way
SAMPLE_S = 600.0  # of virtual time

# What may grow by more than this from the first half of a soak to its end is a container, with a name and a bound.
TOLERANCE = 12

#: where the registered containers lie, and the names of their gauges
REGISTERED = {
    "SqliteStore._heads._entries": "session_heads",
    "Library._catalogs._entries": "skill_catalogs",
    "Growth._pending": "growth_pending",
    "Slot.values": "growth_pending",
}

#: the soak's own, of which there is none in a gateway: as many readings as `course.LOOKS` says at most, and timers that
#: were cancelled, which asyncio sweeps once there are a hundred
OF_THE_SOAK = {"Watch.readings", "Floors._blocks", "VirtualLoop._scheduled"}


class Looks:
    """Walks the live objects once half of the sessions have come; the soak asks after each wave."""

    def __init__(self, built: Gateway, waves: int) -> None:
        self.half: Sizes = Sizes()
        self._built = built
        self._left = waves // 2

    def wants(self) -> bool:
        """Count the waves; in the middle, walk."""
        self._left -= 1
        if self._left == 0:
            self.half = sizes([self._built])
        return False

    def show(self, now: Now) -> None:
        """Show nothing."""


async def soaked(
    loop: VirtualLoop, folder: Path, listener: socket.socket, plan: Everyday, *, leaks: bool
) -> tuple[Sizes, Sizes, list[Gauge]]:
    """Let a plan take its course in a whole gateway; return what was held half-way and in the end, and the gauges."""
    clock = VirtualClock(loop)
    prepare(folder)
    plan.furnish(folder)
    async with gateway(plan.config, folder, listener, clock) as built:
        inside = built.inside
        explainer = Explainer(
            built.growth, inside.store, inside.registry, inside.store.writer.policies, clock
        )
        loop.works.append(lambda: inside.store.writer.untold)
        async with asyncio.TaskGroup() as tasks:
            looks = Looks(built, plan.waves)
            course = Course(inside, plan, looks, leaks=leaks)
            services = [
                tasks.create_task(service)
                for service in (
                    inside.sweeper.serve(),
                    inside.runner.serve(),
                    inside.cron.serve(),
                    watched(built, explainer),
                )
            ]
            await course.run()
            end = sizes([built])
            for service in services:
                service.cancel()
        return looks.half, end, list(inside.registry)


async def watched(built: Gateway, explainer: Explainer) -> None:
    """Sample, scrape and explain all the time."""
    while True:
        await built.growth.tick()
        await explainer.explain(60 * MINUTE_MS)
        await asyncio.sleep(SAMPLE_S)


def soak(
    place: Path, sessions: int, *, leaks: bool = False
) -> tuple[dict[str, tuple[int, int]], list[Gauge]]:
    """Run a soak and return what grew, and the gauges in the end."""
    plan = Everyday(wanted=sessions)
    with listen("127.0.0.1", 0) as listener:
        half, end, gauges = virtual.run(
            lambda loop: soaked(loop, place / "state", listener, plan, leaks=leaks)
        )
    assert half.total() > 0
    return grown(half, end, TOLERANCE), gauges


def test_only_registered_containers_grow(tmp_path: Path) -> None:
    """After the first half of a soak, nothing of ours holds more in the end but what has a name and a bound."""
    found, gauges = soak(tmp_path, SESSIONS)
    named = {gauge.name: gauge for gauge in gauges}

    assert {} == {place: found[place] for place in found.keys() - REGISTERED.keys() - OF_THE_SOAK}
    assert set(REGISTERED.values()) <= set(named)
    assert [] == [gauge for gauge in gauges if gauge.entries > gauge.limit]


def test_a_planted_leak_is_found(tmp_path: Path) -> None:
    """The leak that a soak plants on purpose, a kibibyte a session, is named with its place."""
    found, _ = soak(tmp_path, 4 * SESSIONS_A_WAVE, leaks=True)

    assert "Leak._planted" in found.keys() - REGISTERED.keys()


def test_requests_leave_nothing_behind(tmp_path: Path) -> None:
    """However many requests come, good and bad, about ever new things: nothing of ours keeps anything of them."""
    first, last = asyncio.run(served(tmp_path / "state"))

    assert {} == {
        place: size for place, size in grown(first, last, TOLERANCE).items() if place not in REGISTERED
    }


def test_every_container_is_described(tmp_path: Path) -> None:
    """Each has a name and a bound, says what happens when it is full, and stands in the docs."""
    with listen("127.0.0.1", 0) as listener:
        gauges = asyncio.run(registered(tmp_path / "state", listener))
    page = (Path(__file__).parents[2] / "docs/growth.md").read_text().split("## Containers")[1]

    assert gauges
    assert [] == [gauge.name for gauge in gauges if not gauge.when_full or f"`{gauge.name}`" not in page]


async def registered(folder: Path, listener: socket.socket) -> list[Gauge]:
    """Return the gauges of a gateway."""
    async with gateway(Config(), folder, listener, SystemClock()) as built:
        return list(built.inside.registry)


async def served(folder: Path) -> tuple[Sizes, Sizes]:
    """Serve a round of requests to warm up and three more; return what was held after the first and in the end."""
    with listen("127.0.0.1", 0) as listener:
        async with gateway(Config(), folder, listener, SystemClock()) as built, asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(service)
                for service in (built.inside.sweeper.serve(), built.inside.runner.serve())
            ]
            serving = tasks.create_task(built.server.serve(sockets=[listener]))
            headers = {"Authorization": f"Bearer {built.token}"}
            url = built.instance.url
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
                await asked(client, 0)
                first = sizes([built])
                for number in range(1, 4):
                    await asked(client, number)
                last = sizes([built])
            built.server.should_exit = True
            await serving
            for service in services:
                service.cancel()
    return first, last


async def asked(client: httpx.AsyncClient, turn: int) -> None:
    """Ask for all kinds of things, each under a name of its own."""
    for number in range(10 * turn, 10 * turn + 10):
        path = f"/api/sessions/s{number}"
        once = {"Idempotency-Key": f"k{number}"}
        message = {"text": f"/echo {number}"}
        said = await client.post(f"{path}/messages", params={"wait": 1}, json=message, headers=once)
        assert 200 == said.status_code
        async with client.stream("GET", f"{path}/events") as events:
            assert 200 == events.status_code
        assert 200 == (await client.delete(path)).status_code
        for place in (
            path,
            f"/{number}",
            f"/hooks/h{number}",
            f"/api/jobs/j{number}",
            f"/api/blobs/{number:064}",
        ):
            assert (await client.get(place)).status_code in {401, 404, 405}
        for series in (f"s{number}", "tasks"):
            assert (await client.get("/api/growth", params={"series": series})).status_code in {200, 400}
    for place in ("/metrics", "/api/status", "/api/growth/explain?since=1m"):
        assert 200 == (await client.get(place)).status_code
