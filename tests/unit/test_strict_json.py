import asyncio
import json
import threading
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import strict_json
from tidegate.edge import wire
from tidegate.errors import BadMessage
from tidegate.strict_json import MAX_DEPTH, MAX_LOOP_BYTES, MAX_NUMBER_CHARS, MAX_VALUES, NotStrict

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: st.lists(below) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), below),
)


class Key(str):
    """A key that counts how often it is looked at."""

    __slots__ = ()
    looks = 0

    def __hash__(self) -> int:
        Key.looks += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


class Shape(msgspec.Struct):
    """What notes where it was read."""

    text: str
    at: int = 0

    def __post_init__(self) -> None:
        self.at = threading.get_ident()


@given(JSON, st.booleans())
def test_whatever_is_json_is_read_as_it_was_written(value: object, is_ascii: bool) -> None:  # noqa: FBT001 - drawn
    """Brackets, commas and quotation marks within texts count for nothing."""
    assert value == strict_json.read(json.dumps(value, ensure_ascii=is_ascii).encode())


@pytest.mark.parametrize("count", [1_000, 2_000, 4_000])
def test_keys_are_compared_once(count: int) -> None:
    """Looking for a key that stands twice takes a fixed number of steps for each key, not for each pair of them."""
    pairs = [(Key(f"k{number}"), None) for number in range(count)]
    Key.looks = 0
    with pytest.raises(NotStrict, match="'k999' stands twice"):
        strict_json.unique([*pairs, (Key("k999"), None)])
    assert Key.looks <= 4 * (count + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" + "0," * (MAX_VALUES - 1) + "0]", f"holds more than {MAX_VALUES:,} values"),
        ("[" + "[]," * MAX_VALUES, f"holds more than {MAX_VALUES:,} values"),
        ("{" + ",".join(f'"{at}":0' for at in range(MAX_VALUES)) + "}", f"more than {MAX_VALUES:,} values"),
        ("[" * (MAX_DEPTH + 1), f"deeper than {MAX_DEPTH} levels"),
        ('{"a":' * (MAX_DEPTH + 1), f"deeper than {MAX_DEPTH} levels"),
        ("[" + "9" * (MAX_NUMBER_CHARS + 1) + "]", "a number has more than"),
        ("[0." + "9" * MAX_NUMBER_CHARS + "]", "a number has more than"),
    ],
)
def test_what_is_too_much(text: str, said: str) -> None:
    """It is refused by its count of values, levels or digits."""
    with pytest.raises(NotStrict, match=said):
        strict_json.read(text.encode())


def test_what_is_just_not_too_much() -> None:
    """As many values, levels and digits as there may be."""
    assert MAX_VALUES - 1 == len(_read("[" + "0," * (MAX_VALUES - 2) + "0]"))
    assert "[" * MAX_DEPTH + "]" * MAX_DEPTH == json.dumps(_read("[" * MAX_DEPTH + "]" * MAX_DEPTH))
    assert int("9" * MAX_NUMBER_CHARS) == _read(f"[{'9' * MAX_NUMBER_CHARS}]")[0]


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**6, "[[]," * 10**6, '{"a":1,' * 10**6])
def test_nothing_is_built_of_what_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and levels are counted before the first of them is made."""
    monkeypatch.setattr(strict_json, "_decoder", None)
    with pytest.raises(NotStrict):
        strict_json.read(text.encode())


@pytest.mark.parametrize(
    "text", ['"' * 10**6, '["":' + '"":' * 10**6, '"' + '\\"' * 10**6, "]" * 10**6, "[,]}"]
)
def test_counting_ends_where_it_is_no_json_any_more(text: str) -> None:
    """What no parser would read on is left to the parser."""
    with pytest.raises(NotStrict, match="is not JSON"):
        strict_json.read(text.encode())


@pytest.mark.parametrize("size", [100, MAX_LOOP_BYTES, MAX_LOOP_BYTES + 1])
def test_a_long_body_is_read_on_a_thread(size: int) -> None:
    """Nobody waits for it; a short one takes less time than the way there and back."""
    body = b'{"text":"%s"}' % (b"x" * (size - 11))

    async def main() -> bool:
        shape = await wire.decode(body, Shape)
        assert len(body) == size
        return shape.at == threading.get_ident()

    assert (size <= MAX_LOOP_BYTES) == asyncio.run(main())


def test_a_refusal_comes_back_from_the_thread() -> None:
    """It is the same one."""

    async def main() -> None:
        with pytest.raises(BadMessage, match="holds more than"):
            await wire.decode(b'{"text":[' + b"[]," * MAX_VALUES + b"0]}", Shape)

    asyncio.run(main())


def _read(text: str) -> Sequence[object]:
    found = strict_json.read(text.encode())
    assert isinstance(found, list)
    return found
