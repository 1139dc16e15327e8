from hypothesis import given
from hypothesis import strategies as st

from tidegate.bounded import Gauge, LruCache, Registry

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 6), st.integers(0, 12)), max_size=60
)


def cache(max_bytes: int = 10) -> LruCache[int, bytes]:
    """Return an empty cache of byte strings."""
    return LruCache(max_bytes, len)


def test_a_hit_is_the_same_object() -> None:
    """What was put in comes out, not a copy of it."""
    found, value = cache(), bytes(5)
    found.put(1, value)
    assert found.get(1) is value
    assert found.get(2) is None


def test_the_longest_unused_leaves_first() -> None:
    """Above the bound the value goes that was used longest ago; a look is a use."""
    found = cache()
    found.put(1, bytes(4))
    found.put(2, bytes(4))
    found.get(1)
    found.put(3, bytes(4))
    assert [found.get(key) is not None for key in (1, 2, 3)] == [True, False, True]


def test_a_new_value_takes_the_place() -> None:
    """A key holds one value; what it held before is no longer counted."""
    found = cache()
    found.put(1, bytes(9))
    found.put(1, bytes(2))
    assert (found.bytes, len(found), found.get(1)) == (2, 1, bytes(2))


def test_what_is_too_large_is_not_held() -> None:
    """A value above the whole bound is not kept, and nothing is left in its place."""
    found = cache()
    found.put(1, bytes(11))
    assert (found.bytes, len(found)) == (0, 0)


def test_clear() -> None:
    """A cleared cache is empty and counts nothing."""
    found = cache()
    found.put(1, bytes(3))
    found.clear()
    assert (found.bytes, len(found), found.get(1)) == (0, 0, None)


@given(OPERATIONS)
def test_the_bound_holds(operations: list[tuple[str, int, int]]) -> None:
    """Whatever is done, a cache counts what it holds, stays within its bound and never gives a wrong value."""
    found, last = cache(), dict[int, bytes]()
    for name, key, size in operations:
        if name == "put":
            last[key] = bytes([key]) * size
            found.put(key, last[key])
        elif name == "drop":
            found.drop(key)
            last.pop(key, None)
        held = {key: value for key in last if (value := found.get(key)) is not None}
        assert {key: last[key] for key in held} == held
        assert found.bytes == sum(map(len, held.values())) <= found.max_bytes
        assert len(found) == len(held)


def test_a_registry_reads_when_asked() -> None:
    """A gauge is read at the moment somebody looks, under its name and with its limit."""
    registry, items = Registry(), list[int]()
    registry.add("things", lambda: len(items), 7)
    items.append(1)
    assert list(registry) == [Gauge("things", 1, 7)]
