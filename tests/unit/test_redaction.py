import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.redaction import MARK, MIN_CHARS, SLICE_CHARS, Flow, Redaction

SECRETS = (
    'pass "word"/with+é=&\\',
    "sk-proj-0123456789abcdefghij",
    "sk-proj-0123456789",
    "whatever-token-of-mine",
)
CHUNK = st.text(alphabet='ab/+=sk-proj0123"\\é%{', max_size=12)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "Bearer "])
def test_a_secret_is_found_in_every_form(secret: str, before: str) -> None:
    """As it is, in JSON, in a URL, and in base64 wherever it begins there, of either alphabet."""
    clean, data = Redaction(SECRETS), (before + secret + "!?").encode()
    forms = [
        before + secret,
        json.dumps({"key": before + secret}),
        json.dumps(before + secret, ensure_ascii=False),
        json.dumps(before + secret).replace("/", "\\/"),
        quote(before + secret, safe=""),
        quote_plus(before + secret),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        f"https://x.example/?k={quote(secret, safe='').lower()}",
    ]
    for form in forms:
        found = clean(f"« {form} »")
        assert MARK in found
        assert found.startswith("« ")
        assert found.endswith(" »")
        assert secret not in found


def test_the_longest_one_is_taken() -> None:
    """Of two secrets of which one begins like the other, nothing of the longer one is left."""
    assert Redaction(SECRETS)("sk-proj-0123456789abcdefghij") == MARK
    assert Redaction(SECRETS)("sk-proj-0123456789abc") == f"{MARK}abc"


def test_what_holds_no_secret_is_the_same_object() -> None:
    """Nothing is copied for a text in which there is nothing, and short secrets are left alone."""
    text = "an ordinary text with sk-proj-01234567, word and short"
    assert Redaction(SECRETS)(text) is text
    assert Redaction(["short", "", "x" * (MIN_CHARS - 1)])(text) is text
    assert Redaction()(text) is text
    assert Redaction().add("short", "", SECRETS[0]) == 1


def test_secrets_may_come_later() -> None:
    """What is known only at run time is taken out from then on, beside what was known before."""
    clean = Redaction([SECRETS[1]])
    assert clean(SECRETS[3]) == SECRETS[3]
    clean.add(SECRETS[3])
    assert clean(f"{SECRETS[3]} {SECRETS[1]}") == f"{MARK} {MARK}"


@pytest.mark.parametrize("at", [SLICE_CHARS - 27, SLICE_CHARS - 1, SLICE_CHARS, 2 * SLICE_CHARS - 5])
def test_slices_have_no_seams(at: int) -> None:
    """A secret across the border of two slices is found, wherever it lies."""
    text = "x" * at + SECRETS[1] + "y" * SLICE_CHARS + SECRETS[3]
    assert Redaction(SECRETS)(text) == "x" * at + MARK + "y" * SLICE_CHARS + MARK


@given(
    st.lists(st.one_of(CHUNK, st.sampled_from(SECRETS)), max_size=8), st.lists(st.integers(1, 9), min_size=1)
)
def test_pieces_show_what_the_whole_shows(parts: list[str], sizes: list[int]) -> None:
    """However a text is cut up, what is shown on the way is the beginning of what the whole text shows."""
    clean, text = Redaction(SECRETS), "".join(parts)
    flow, shown, at = Flow(clean), "", 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        shown += flow.through(text[at : at + size])
        at += size
    whole = clean(text)
    assert whole.startswith(shown)


def test_the_cost_is_linear() -> None:
    """Text that begins like a secret at every character takes no more than a few times as long as any other."""
    clean = Redaction([("ab" * 30) + str(number) for number in range(50)])

    def took_s(text: str) -> float:
        began = time.thread_time()
        clean(text)
        return time.thread_time() - began

    took_s("warm")
    assert took_s("ab" * 100_000) < 40 * took_s("cd" * 100_000) + 0.5
