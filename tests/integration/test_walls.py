"""Every long-lived loop of a gateway meets a bad item, a lack of descriptors and a lack of memory, and goes on."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from embedding_server import EmbeddingServer
from gateway_process import TOKEN
from plugin_package import install
from tidegate import config as configuration
from tidegate.app import Gateway, gateway, listen
from tidegate.clock import SECOND_MS
from tidegate.faults import STUCK_MS, Area
from tidegate.folder import prepare
from tidegate.runtime.hook_thread import HookThread
from tidegate.soak import virtual
from tidegate.soak.virtual import VirtualClock, VirtualLoop

CONFIG = """
[webhooks.pager]
url = "http://127.0.0.1:9/"
secret_env = "SECRET"
events = ["run_finished"]

[plugins]
hooks = ["listening"]

[memory]
embeddings = "box/tiny"

[providers.box]
base_url = "{url}"
"""

#: where the work of each loop is done: the object that does it, and the name of its method
WORK: dict[Area, Callable[[Gateway], tuple[Any, str]]] = {
    Area.RUNNER: lambda built: (built.inside.runner, "_free"),
    Area.SWEEP: lambda built: (built.inside.store, "due"),
    Area.DISK: lambda built: (built.inside.disk, "look"),
    Area.JOBS: lambda built: (built.inside.store, "jobs_due"),
    Area.SKILLS: lambda built: (built.inside.skills, "_look"),
    Area.OUTBOX: lambda built: (built.inside.store.outbox, "due"),
    Area.SPEND: lambda built: (built.inside.spend, "look"),
    Area.MEMORY: lambda built: (built.inside.store.facts, "without_vector"),
    Area.HOOKS: lambda _: (HookThread, "call"),
    Area.BACKUP: lambda built: (built.nightly, "tick"),
    Area.GROWTH: lambda built: (built.growth.sampler, "read"),
    Area.PRESSURE: lambda built: (built.pressure, "turn"),
    Area.ALERTS: lambda built: (built.alerts._alarms, "look"),  # noqa: SLF001 - what it asks
    Area.LAG: lambda built: (built.growth.sampler, "note_lag"),
}
ERRORS = (ValueError("a bad item"), OSError(errno.EMFILE, "Too many open files"), MemoryError())


class Broken:
    """Work that fails so often, and then is done as before."""

    def __init__(self, place: tuple[Any, str], errors: list[Exception]) -> None:
        self.errors = errors
        self.is_done = asyncio.Event()
        work = getattr(*place)

        def call(*args: Any, **named: Any) -> Any:
            if self.errors:
                raise self.errors.pop(0)
            self.is_done.set()
            return work(*args, **named)

        setattr(*place, call)


def written(folder: Path, url: str) -> Path:
    """Make a state folder with a configuration in which every loop has something to do."""
    prepare(folder)
    (folder / "tidegate.toml").write_text(CONFIG.format(url=url))
    return folder / "tidegate.toml"


@asynccontextmanager
async def running(loop: VirtualLoop, folder: Path, url: str) -> AsyncIterator[Gateway]:
    """Run every loop of a gateway in virtual time, as `app.serve` does."""
    config = configuration.read(written(folder, url))
    with listen("127.0.0.1", 0) as listener:
        async with gateway(config, folder, listener, VirtualClock(loop)) as built:
            loop.works.append(lambda: built.inside.store.writer.untold)
            built.health.is_ready = True
            async with asyncio.TaskGroup() as tasks:
                served = [tasks.create_task(built.inside.faults.keep(one)) for one in built.loops]
                yield built
                for one in served:
                    one.cancel()


async def say(built: Gateway, text: str) -> str:
    """Say something, and return how the run has ended and what was answered."""
    intake = built.inside.intake
    admitted = await intake.message("ada", f"/echo {text}", "main", is_named=False, receipt=None)
    done = await intake.outcome(admitted.run)
    entries = await built.inside.store.entries(done.session, 0, 100)
    return f"{done.outcome}: {entries[-1].body.text}"


async def all_broken(loop: VirtualLoop, folder: Path, url: str) -> None:
    """Let each loop fail in each way while somebody is served."""
    async with running(loop, folder, url) as built:
        faults = built.inside.faults
        assert {one.part for one in built.loops} == WORK.keys()
        await say(built, "hi")
        broken = {part: Broken(place(built), list(ERRORS)) for part, place in WORK.items()}
        for _ in range(40):
            assert await say(built, "still there?") == "ok: still there?"
            await asyncio.sleep(20)
            built.inside.memory.ring()
            if all(one.is_done.is_set() for one in broken.values()):
                break
        assert [part for part, one in broken.items() if not one.is_done.is_set()] == []
        for part in broken:
            assert faults.counts[part] >= len(ERRORS), part
            last = faults.report()[part]
            assert isinstance(last, dict)
            assert "MemoryError" in last["error"], part
        assert faults.stuck() == []


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin, and set what a start reads."""
    packages = tmp_path / "packages"
    packages.mkdir()
    install(packages, "listening", "def run_finished(event):\n    pass\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setenv("TIDEGATE_TOKEN", TOKEN)
    monkeypatch.setenv("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setattr(HookThread, "call", HookThread.call)  # put back afterwards


def test_each_loop_goes_on(tmp_path: Path) -> None:
    """A loop that meets a bad item, EMFILE and a lack of memory goes on, counts them, and a person is answered."""
    with EmbeddingServer() as server:
        virtual.run(lambda loop: all_broken(loop, tmp_path / "state", server.base_url))


async def never_again(loop: VirtualLoop, folder: Path, url: str) -> None:
    """Let the sweep fail for five minutes and then work again."""
    async with running(loop, folder, url) as built:
        faults = built.inside.faults
        broken = Broken(WORK[Area.SWEEP](built), [ValueError("no such column: due_at")] * 100)
        await asyncio.sleep(STUCK_MS / SECOND_MS + 130)
        assert faults.stuck() == [Area.SWEEP]
        answer = await built.health.ready(None)  # type: ignore[arg-type]  # it looks at no request
        assert answer.status_code == 503
        assert b"no such column" in bytes(answer.body)
        assert await say(built, "hi") == "ok: hi"
        assert built.alerts.told["faults"] == 1  # type: ignore[index]  # a StrEnum
        broken.errors.clear()
        await asyncio.sleep(70)
        assert faults.stuck() == []
        assert (await built.health.ready(None)).status_code == 200  # type: ignore[arg-type]  # as above
        assert faults.counts[Area.SWEEP] < 20  # it has rested in between


def test_a_loop_that_cannot_work_at_all(tmp_path: Path) -> None:
    """After five minutes the gateway is not ready and says why, the owner is told once, and it is well again later."""
    with EmbeddingServer() as server:
        virtual.run(lambda loop: never_again(loop, tmp_path / "state", server.base_url))
