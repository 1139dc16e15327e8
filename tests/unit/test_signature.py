import base64
import hmac
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import signature
from tidegate.errors import SignatureWrong
from tidegate.signature import MAX_SIGNATURES, TOLERANCE_S, Signed

# Source: the tests of https://github.com/standard-webhooks/standard-webhooks, the same in each of its libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
ID, AT_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

KEY, OTHER = signature.secret(SECRET), b"o" * 24
TEXTS = st.text(st.characters(max_codepoint=255), max_size=80)


def is_taken(signed: Signed, body: bytes = BODY, now_s: int = AT_S, keys: tuple[bytes, ...] = (KEY,)) -> bool:
    """Whether a signature is right."""
    try:
        signature.verify(keys, signed, body, now_s)
    except SignatureWrong:
        return False
    return True


def test_the_published_vector() -> None:
    """What the standard's own libraries sign is signed the same here, and taken."""
    assert signature.sign([KEY], ID, AT_S, BODY) == Signed(id=ID, timestamp=str(AT_S), signature=SIGNATURE)
    assert is_taken(Signed(id=ID, timestamp=str(AT_S), signature=SIGNATURE))


def test_rotation() -> None:
    """While a secret is replaced, either side may already have the new one alone, or both."""
    new = os.urandom(32)
    both = signature.sign([KEY, new], ID, AT_S, BODY)
    assert len(both.signature.split(" ")) == 2
    assert [is_taken(both, keys=keys) for keys in ((KEY,), (new,), (OTHER, new), (OTHER,))] == [
        True, True, True, False,
    ]  # fmt: skip
    assert is_taken(signature.sign([KEY], ID, AT_S, BODY), keys=(new, KEY))


@pytest.mark.parametrize(("off_s", "expected"), [(0, True), (TOLERANCE_S, True), (TOLERANCE_S + 1, False)])
@pytest.mark.parametrize("side", [-1, 1])
def test_clocks_may_differ_by_five_minutes(off_s: int, expected: bool, side: int) -> None:  # noqa: FBT001 - a case
    """A signature is as good in the future as in the past, up to the tolerance."""
    assert is_taken(signature.sign([KEY], ID, AT_S, BODY), now_s=AT_S + side * off_s) is expected


def test_only_who_signs_well_learns_about_the_clock() -> None:
    """What is wrong with the time is told to nobody else."""
    late = AT_S + 1_000
    with pytest.raises(SignatureWrong, match="1,000 s old"):
        signature.verify([KEY], signature.sign([KEY], ID, AT_S, BODY), BODY, late)
    with pytest.raises(SignatureWrong) as refused:
        signature.verify([KEY], signature.sign([OTHER], ID, AT_S, BODY), BODY, late)
    assert "old" not in refused.value.message


@pytest.mark.parametrize(
    "given",
    [
        "", " ", "v1", "v1,", SIGNATURE[3:], f"v2,{SIGNATURE[3:]}", f"v1a,{SIGNATURE[3:]}", SIGNATURE.lower(),
        SIGNATURE.rstrip("="), f"{SIGNATURE}=", f"{SIGNATURE},", SIGNATURE.replace(",", ", "), f"{SIGNATURE}\xe4",
        SIGNATURE.replace("OE=", "OF="),
        " ".join(["v1,x"] * MAX_SIGNATURES + [SIGNATURE]),
    ],
)  # fmt: skip
def test_nothing_but_the_signature_is_one(given: str) -> None:
    """Other versions, other alphabets, other paddings and what stands behind too many others is none."""
    assert not is_taken(Signed(id=ID, timestamp=str(AT_S), signature=given))


def test_among_several_one_is_enough() -> None:
    """What the reader does not know does not spoil what it knows."""
    assert is_taken(Signed(id=ID, timestamp=str(AT_S), signature=f"v1a,xyz  v1,\xe4 {SIGNATURE} v9,"))


def test_borders_cannot_be_moved() -> None:
    """A part of the body does not pass as the time, nor the time as a part of the id."""
    body = f"{AT_S}.rest".encode()
    signed = signature.sign([KEY], ID, AT_S, body)
    moved = Signed(id=f"{ID}.{AT_S}", timestamp=str(AT_S), signature=signed.signature)
    assert is_taken(signed, body)
    assert not is_taken(moved, b"rest")


@pytest.mark.parametrize("timestamp", ["", "1.5", "-1", "+1", "1e9", " 1", "\u0661", "9" * 13, "0x10", "1\n"])
def test_a_timestamp_is_a_number(timestamp: str) -> None:
    """Seconds in digits, nothing else, however well it is signed."""
    content = f"{ID}.{timestamp}.".encode() + BODY
    signed = "v1," + base64.b64encode(hmac.digest(KEY, content, "sha256")).decode()
    assert not is_taken(Signed(id=ID, timestamp=timestamp, signature=signed), now_s=0)


@given(key=st.binary(min_size=24, max_size=64), at_s=st.integers(0, 10**11), body=st.binary(max_size=200))
def test_what_is_signed_is_taken_and_nothing_else_is(key: bytes, at_s: int, body: bytes) -> None:
    """Signing and verifying are inverse; a byte more, another id or another second is another thing."""
    signed = signature.sign([key], "msg_1", at_s, body)
    assert is_taken(signed, body, at_s, (key,))
    assert not is_taken(signed, body + b" ", at_s, (key,))
    assert not is_taken(
        Signed(id="msg_2", timestamp=signed.timestamp, signature=signed.signature), body, at_s, (key,)
    )
    assert not is_taken(
        Signed(id="msg_1", timestamp=str(at_s + 1), signature=signed.signature), body, at_s, (key,)
    )


@given(message_id=TEXTS, timestamp=TEXTS, given=TEXTS, body=st.binary(max_size=80))
def test_no_header_does_harm(message_id: str, timestamp: str, given: str, body: bytes) -> None:
    """Whatever stands in the headers, the answer is no."""
    assert not is_taken(Signed(id=message_id, timestamp=timestamp, signature=given), body)


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_is_read_as_it_is_written(key: bytes) -> None:
    """`whsec_` and the base64 of 24 to 64 bytes."""
    assert signature.secret(f"whsec_{base64.b64encode(key).decode()}") == key


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", SECRET[6:], SECRET.upper(), f"{SECRET}!", "whsec_c2hvcnQ=", f"whsk_{SECRET[6:]}",
     "whsec_" + base64.b64encode(b"x" * 65).decode(), f"{SECRET}\n", "whsec_ä"],
)  # fmt: skip
def test_what_is_no_secret(text: str) -> None:
    """Too short, too long, without its prefix or no base64."""
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        signature.secret(text)
