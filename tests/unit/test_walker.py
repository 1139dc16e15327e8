import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from house import SqliteHouse, sqlite
from tidegate.bounded import LruCache
from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import PolicyName
from tidegate.store.admission import Admission, Birth
from tidegate.store.tx import Effects
from walker import grown, sizes

TURNS = 20
PLANTED = """
async def serve(wake, done):
    kept = []
    while True:
        kept.append(await wake.get())
        done.put_nowait(1)
"""

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


Holder = dict[str, int] | list[str] | set[str] | deque[str] | OrderedDict[str, int]


@pytest.mark.parametrize("make", [dict, list, set, deque, OrderedDict])
async def test_whatever_grows_is_found(tmp_path: Path, make: Callable[[], Holder]) -> None:
    """A container without a bound that an object of the house holds is named, of whichever kind it is."""
    async with sqlite(tmp_path) as house:
        leak = make()
        vars(house.store)["leak"] = leak
        await work(house)
        before = sizes([house.store])
        for number in range(TURNS):
            fill(leak, str(number))

        assert {"SqliteStore.leak": (0, TURNS)} == grown(before, sizes([house.store]), TURNS // 2)


async def test_a_listener_that_keeps_what_it_hears_is_found(tmp_path: Path) -> None:
    """A dict in the closure of a function of the house is seen, and so is what lies in other containers."""
    kept: dict[str, list[str]] = {"heard": []}

    def listen(effects: Effects) -> None:
        kept["heard"] += effects.heads

    listen.__module__ = "tidegate.planted"
    async with sqlite(tmp_path) as house:
        house.store.listen(listen)
        before = sizes([house.store])
        await work(house)
        found = grown(before, sizes([house.store]), TURNS // 2)

    assert [(0, TURNS)] == [size for place, size in found.items() if place.endswith("listen<closure>[]")]


async def test_a_cache_is_known_by_who_holds_it(tmp_path: Path) -> None:
    """Two caches of one class are two places."""
    async with sqlite(tmp_path) as house:
        vars(house.store)["second"] = LruCache[str, str](1 << 20, len)
        await work(house)

        assert {"SqliteStore._heads._entries", "SqliteStore.second._entries"} <= set(sizes([house.store]))


async def test_a_task_that_collects_is_found() -> None:
    """What a task of the house keeps in a variable is seen; what a library keeps for itself is not ours."""
    space: dict[str, Callable[..., Coroutine[object, object, None]]] = {}
    exec(compile(PLANTED, "/tidegate/planted.py", "exec"), space)  # noqa: S102 - code is ours by where it lies
    wake, done = asyncio.Queue[int](), asyncio.Queue[int]()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(space["serve"](wake, done))
        before = sizes([])
        for number in range(TURNS):
            wake.put_nowait(number)
            await done.get()
        found = grown(before, sizes([]), TURNS // 2)
        serving.cancel()

    assert {"serve<local>": (0, TURNS)} == found


def fill(leak: Holder, item: str) -> None:
    """Put something into a container."""
    match leak:
        case dict():
            leak[item] = 1
        case set():
            leak.add(item)
        case _:
            leak.append(item)


async def work(house: SqliteHouse) -> None:
    """Let some sessions come."""
    for number in range(TURNS):
        admission = Admission(
            key=f"s{number}",
            birth=Birth(policy=PolicyName.CHAT, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[User(text="hello")],
        )
        await house.store.admit(admission)
