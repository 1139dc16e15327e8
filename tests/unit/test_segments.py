import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import Corrupt
from tidegate.store.segments import RAW_BYTES, Segment, from_row, pack

LINES = st.lists(st.binary(min_size=1, max_size=40).map(lambda line: line.replace(b"\n", b"_")), min_size=1)
SAMPLE = [b'{"t":"user","text":"hello"}', b'{"t":"assistant","text":"Gr\xc3\xbc\xc3\x9fe"}', b"{}"] * 3


def packed(lines: list[bytes], first_seq: int = 1) -> Segment:
    """Return the one segment that some lines make."""
    (segment,) = pack(first_seq, lines)
    return segment


@given(LINES, st.integers(1, 1 << 40))
def test_what_is_packed_is_read_back(lines: list[bytes], first_seq: int) -> None:
    """A segment gives back its lines, knows their places and how long they were."""
    segment = packed(lines, first_seq)
    assert segment.lines() == lines
    assert (segment.first_seq, segment.last_seq) == (first_seq, first_seq + len(lines) - 1)
    assert segment.raw_bytes == sum(map(len, lines)) + len(lines) - 1


@given(st.lists(st.integers(1, 65_536), max_size=80))
def test_no_segment_is_above_its_limit(sizes: list[int]) -> None:
    """Whatever the lengths of its lines, a transcript becomes whole segments of at most 1 MiB, in order."""
    lines = [bytes([65 + number % 20]) * size for number, size in enumerate(sizes)]
    segments = list(pack(1, lines))
    assert [line for segment in segments for line in segment.lines()] == lines
    assert all(segment.raw_bytes <= RAW_BYTES for segment in segments)
    places = [place for segment in segments for place in range(segment.first_seq, segment.last_seq + 1)]
    assert places == list(range(1, len(lines) + 1))


def test_nothing_packs_to_nothing() -> None:
    """A transcript without entries has no segments."""
    assert list(pack(1, [])) == []


@given(st.data())
def test_damage_in_any_byte_is_noticed(data: st.DataObject) -> None:
    """A changed byte anywhere in a segment's body never shows other lines than were packed."""
    segment = packed(SAMPLE)
    place = data.draw(st.integers(0, len(segment.body) - 1))
    flipped = segment.body[place] ^ data.draw(st.integers(1, 255))
    body = segment.body[:place] + bytes([flipped]) + segment.body[place + 1 :]
    damaged = msgspec.structs.replace(segment, body=body)
    try:
        found = damaged.lines()
    except Corrupt:
        return
    assert found == SAMPLE  # a bit without a meaning


@given(st.integers(0, 200), st.binary(max_size=20))
def test_a_cut_is_noticed(length: int, rest: bytes) -> None:
    """A body that was cut, or cut and filled up with something else, is refused."""
    segment = packed(SAMPLE)
    body = segment.body[: min(length, len(segment.body) - 1)] + rest
    if body != segment.body:
        with pytest.raises(Corrupt):
            msgspec.structs.replace(segment, body=body).lines()


@pytest.mark.parametrize(
    "changes",
    [{"digest": bytes(16)}, {"digest": b""}, {"last_seq": 8}, {"last_seq": 10}, {"first_seq": 2}],
    ids=str,
)
def test_damage_beside_the_body_is_noticed(changes: dict[str, object]) -> None:
    """A wrong digest, or a range that is not as long as the lines, is refused."""
    with pytest.raises(Corrupt):
        msgspec.structs.replace(packed(SAMPLE), **changes).lines()


def test_another_segments_body() -> None:
    """A body in the wrong place is refused, even if it is whole and as long."""
    other = packed([line + b" " for line in SAMPLE])
    with pytest.raises(Corrupt):
        msgspec.structs.replace(packed(SAMPLE), body=other.body).lines()


def test_a_row() -> None:
    """A segment is the same after it was a row."""
    segment = packed(SAMPLE, 7)
    row = ("S", segment.first_seq, segment.last_seq, segment.digest, segment.raw_bytes, segment.body)
    assert from_row(row) == segment
