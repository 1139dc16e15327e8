import ctypes
import platform

import pytest

from tidegate.runtime.allocator import Allocator

BLOCKS = 2_000
SIZE = 8_000  # below what the allocator asks the system for by itself


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator tells nothing")
def test_what_was_given_back_is_free() -> None:
    """Memory that was freed between pieces that stay is free, and not the system's."""
    pieces = [ctypes.create_string_buffer(SIZE) for _ in range(BLOCKS)]
    before = Allocator().free_bytes()
    del pieces[::2]
    after = Allocator().free_bytes()

    assert before is not None
    assert after is not None
    assert BLOCKS // 2 * SIZE * 0.9 < after - before < BLOCKS // 2 * SIZE * 1.2


def test_where_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another C library has no such function: then nothing is known."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())

    assert Allocator().free_bytes() is None
