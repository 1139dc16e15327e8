import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.entry import (
    Assistant,
    BlobRef,
    Body,
    Call,
    EntryType,
    Notice,
    Result,
    Role,
    Summary,
    System,
    User,
    decode,
    encode,
    role_of,
    text_bytes,
    type_of,
)
from tidegate.ids import BlobHash, RunId

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SAID = {
    "at": st.integers(0, 1 << 50),
    "run": st.none() | TEXT.map(RunId),
    "text": TEXT,
    "blob": st.none() | st.builds(BlobRef, hash=TEXT.map(BlobHash), bytes=st.integers(0, 1 << 24)),
}
BODIES = st.one_of(
    *(st.builds(kind, **SAID) for kind in (System, User, Assistant, Summary, Notice)),
    st.builds(Call, tool=TEXT, call_id=TEXT, **SAID),
    st.builds(Result, tool=TEXT, call_id=TEXT, is_error=st.booleans(), **SAID),
)


@given(BODIES)
def test_what_is_stored_is_what_was_said(body: Body) -> None:
    """Every body is read back as it was written, from one line."""
    encoded = encode(body)
    assert decode(encoded) == body
    assert b"\n" not in encoded


@pytest.mark.parametrize(
    ("body", "kind", "role"),
    [
        (System(), EntryType.MESSAGE, Role.SYSTEM),
        (User(), EntryType.MESSAGE, Role.USER),
        (Assistant(), EntryType.MESSAGE, Role.ASSISTANT),
        (Call(tool="t", call_id="1"), EntryType.TOOL_CALL, Role.ASSISTANT),
        (Result(tool="t", call_id="1"), EntryType.TOOL_RESULT, Role.TOOL),
        (Summary(), EntryType.SUMMARY, Role.SYSTEM),
        (Notice(), EntryType.NOTICE, Role.SYSTEM),
    ],
)
def test_types_and_roles(body: Body, kind: EntryType, role: Role) -> None:
    """Each body has the type and the role that the API shows."""
    assert (type_of(body), role_of(body)) == (kind, role)


def test_how_long_a_text_is() -> None:
    """A text counts in bytes, a spilled one with all of them."""
    assert text_bytes(User(text="é🌊")) == 6
    assert text_bytes(User(text="é", blob=BlobRef(hash=BlobHash("h"), bytes=99))) == 99


def test_what_another_release_wrote() -> None:
    """A body with fields that this release does not know is read without them; one of an unknown kind is not."""
    assert decode(b'{"t":"user","text":"x","from_the_future":1}') == User(text="x")
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"t":"unheard_of"}')
