from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    """What is known to be hard is read, or refused as promised."""
    kept = sorted((CORPUS / name).iterdir())
    assert kept
    for file in kept:
        TARGETS[name](file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_anything_else(name: str) -> None:
    """So is whatever comes to mind."""
    parts = st.sampled_from([file.read_bytes() for file in sorted((CORPUS / name).iterdir())])

    @settings(max_examples=50, database=None)
    @given(st.binary(max_size=200) | st.lists(parts | st.binary(max_size=5), max_size=4).map(b"".join))
    def read(data: bytes) -> None:
        TARGETS[name](data)

    read()
