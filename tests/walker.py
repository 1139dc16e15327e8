"""Walks the live objects of this process and says how much the containers of the house hold, by where they are.

Where a container is, is told as a path of attributes from the object that owns it: ``Bus._subscribers``, or
``Bus._subscribers[]`` for the containers in that one, all of them together. A container counts if a class, a module or
a function of ours owns it; whatever is held by a library alone is its own affair.
"""

import asyncio
import gc
import sys
import types
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import _lru_cache_wrapper, partial

from tidegate import bounded

OURS = "tidegate"
CONTAINERS = (dict, list, set, deque, array, OrderedDict, bytearray)
#: what only the interpreter fills
SKIPPED = (
    type,
    types.ModuleType,
    types.FrameType,
    types.CodeType,
    types.BuiltinFunctionType,
    types.TracebackType,
)

Sizes = Counter[str]


def sizes(roots: Iterable[object]) -> Sizes:
    """Return how many elements the containers of the house hold, by their place: of *roots*, modules and tasks."""
    found: Sizes = Counter()
    seen: set[int] = {id(found)}
    queue: deque[tuple[object, str, bool]] = deque()
    queue += ((root, type(root).__name__, True) for root in roots)
    queue += ((value, name, True) for name, value in _globals())
    queue += ((task, "task", False) for task in asyncio.all_tasks())
    while queue:
        item, place, is_ours = queue.popleft()
        if id(item) in seen or isinstance(item, SKIPPED):
            continue
        seen.add(id(item))
        if isinstance(item, CONTAINERS):
            if is_ours:
                found[place] += len(item)
            queue += ((held, f"{place}[]", is_ours) for held in _elements(item))
        elif isinstance(item, _lru_cache_wrapper):
            found[f"{item.__module__}.{item.__qualname__}<cache>"] += item.cache_info().currsize
        else:
            queue += _parts(item, place, is_ours=is_ours)
    return found


def grown(before: Sizes, after: Sizes, tolerance: int) -> dict[str, tuple[int, int]]:
    """Return the places that hold more than *tolerance* elements more than before: then and now."""
    return {
        place: (before[place], size)
        for place, size in sorted(after.items())
        if size - before[place] > tolerance
    }


def _globals() -> Iterator[tuple[str, object]]:
    """Yield what the modules and the classes of the house hold."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == OURS:
            for key, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == name:
                    yield from ((f"{name}.{key}.{one}", held) for one, held in list(vars(value).items()))
                elif not key.startswith("__"):
                    yield f"{name}.{key}", value


def _elements(item: object) -> list[object]:
    if isinstance(item, Mapping | dict):
        return [*item.keys(), *item.values()]
    return [] if isinstance(item, array | bytearray) else list(item)  # type: ignore[call-overload]  # all can be iterated


def _parts(item: object, place: str, *, is_ours: bool) -> Iterator[tuple[object, str, bool]]:
    """Yield what an object holds, with the place of each; a class of ours begins a place of its own."""
    match item:
        case types.FunctionType():
            is_ours = (item.__module__ or "").partition(".")[0] == OURS
            name = item.__qualname__
            yield from ((cell, f"{name}<closure>", is_ours) for cell in item.__closure__ or ())
            yield item.__dict__, f"{name}.__dict__", is_ours
        case types.MethodType():
            yield item.__self__, place, is_ours
        case types.CellType():
            yield from ((held, place, is_ours) for held in gc.get_referents(item))
        case tuple() | frozenset():
            yield from ((held, place, is_ours) for held in item)
        case partial():
            yield from ((held, place, is_ours) for held in (item.func, *item.args, *item.keywords.values()))
        case _:
            yield from _attributes(item, place)


def _attributes(item: object, place: str) -> Iterator[tuple[object, str, bool]]:
    kind = type(item)
    if kind.__module__.partition(".")[0] == OURS:
        named = {**_slots(item), **getattr(item, "__dict__", {})}
        # what is there to be held by others is known by who holds it
        owner = place if kind.__module__ == bounded.__name__ else kind.__name__
        yield from ((held, f"{owner}.{name}", True) for name, held in named.items())
    elif kind.__module__ != "builtins" or isinstance(item, types.CoroutineType | types.GeneratorType):
        # of a library: whom it calls and what it keeps for us is looked at, its own containers are not counted
        is_frame = isinstance(item, types.CoroutineType | types.GeneratorType)
        name = getattr(item, "__qualname__", place) if is_frame else place
        owned = is_frame and _is_of_house(item)
        yield from ((held, f"{name}<local>" if owned else place, owned) for held in gc.get_referents(item))


def _is_of_house(item: object) -> bool:
    code = getattr(item, "cr_code", None) or getattr(item, "gi_code", None)
    return code is not None and f"/{OURS}/" in code.co_filename


def _slots(item: object) -> dict[str, object]:
    """Return the attributes that lie in slots, as those of a frozen struct do."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(item).__mro__]
    names = {name for one in slots for name in ([one] if isinstance(one, str) else one)}
    return {name: getattr(item, name) for name in names if hasattr(item, name)}
