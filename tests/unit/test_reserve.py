import os
from pathlib import Path

import pytest

from tidegate.store import disk
from tidegate.store.reserve import LITTLE_BYTES, MAX_BYTES, NAME, Reserve, checkpoint_pages, size_for

SIZE = 256 << 10


def test_it_takes_real_space(tmp_path: Path) -> None:
    """The file is allocated to its last byte, and readable by its owner alone."""
    assert Reserve(tmp_path / NAME).take(SIZE)
    found = (tmp_path / NAME).stat()
    assert (SIZE, 0o600) == (found.st_size, found.st_mode & 0o777)
    assert found.st_blocks * 512 >= SIZE


def test_it_is_taken_again_only_with_room_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has set free itself does not count as space that has come back."""
    reserve = Reserve(tmp_path / NAME)
    left = 10 * SIZE
    monkeypatch.setattr(disk, "free_bytes", lambda _: left)
    assert reserve.take(SIZE)
    assert reserve.release()
    left = 2 * SIZE - 1
    assert not reserve.take(SIZE)
    assert (True, 0, False) == (reserve.is_out, reserve.held_bytes, (tmp_path / NAME).exists())
    left = 2 * SIZE
    assert reserve.take(SIZE)
    assert (False, SIZE) == (reserve.is_out, reserve.held_bytes)


def test_it_is_as_large_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With little left it is smaller, so that there is room for messages; it grows later, and comes back as it was."""
    reserve = Reserve(tmp_path / NAME)
    held = []
    for left, is_full in (
        (SIZE, False),
        (SIZE, False),
        (SIZE, True),
        (SIZE, False),
        (2 * SIZE, False),
        (SIZE, False),
    ):
        monkeypatch.setattr(disk, "free_bytes", lambda _, left=left: left)
        if is_full:
            reserve.release()
        reserve.take(SIZE)
        held.append(reserve.held_bytes)
        assert held[-1] == (tmp_path / NAME).stat().st_size
    quarter = SIZE // 4
    assert [quarter, quarter, quarter, quarter, SIZE, SIZE] == held
    monkeypatch.setattr(disk, "free_bytes", lambda _: 4095)
    assert not Reserve(tmp_path / "other").take(SIZE)


def test_it_goes_once(tmp_path: Path) -> None:
    """There is nothing to let go of twice, or where none was taken."""
    reserve = Reserve(tmp_path / NAME)
    assert not reserve.release()
    reserve.take(SIZE)
    assert [True, False] == [reserve.release(), reserve.release()]
    assert not Reserve(None).release()


def test_a_file_that_is_no_reserve_is_made_one(tmp_path: Path) -> None:
    """A file with holes, of another size or behind a link takes no room, so it is replaced; what a link names stays."""
    for leave in (_holes, _smaller, _link):
        (tmp_path / NAME).unlink(missing_ok=True)
        leave(tmp_path)
        assert Reserve(tmp_path / NAME).take(SIZE)
        assert (tmp_path / NAME).lstat().st_blocks * 512 >= SIZE
    assert "somebody's" == (tmp_path / "other").read_text()


def _holes(folder: Path) -> None:
    (folder / NAME).touch()
    os.truncate(folder / NAME, SIZE)


def _smaller(folder: Path) -> None:
    (folder / NAME).write_bytes(b"x" * 4096)


def _link(folder: Path) -> None:
    (folder / "other").write_text("somebody's")
    (folder / NAME).symlink_to(folder / "other")


def test_it_is_given_up_for_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier gateway has left goes if there is not even room to open a store, and stays otherwise."""
    Reserve(tmp_path / NAME).take(SIZE)
    for left, stays in ((LITTLE_BYTES, True), (LITTLE_BYTES - 1, False)):
        monkeypatch.setattr(disk, "free_bytes", lambda _, left=left: left)
        reserve = Reserve(tmp_path / NAME)
        reserve.make_way()
        assert (stays, not stays) == ((tmp_path / NAME).exists(), reserve.is_out)


@pytest.mark.parametrize(
    ("limit", "size"), [(10 << 30, MAX_BYTES), (32 << 20, 2 << 20), ((32 << 20) - 1, (2 << 20) - 4096)]
)
def test_its_size_follows_the_limit(limit: int, size: int) -> None:
    """A sixteenth of what the state may take, in whole pages, and a few MiB at most."""
    assert size == size_for(limit)


@pytest.mark.parametrize("limit", [16 << 20, 64 << 20, 1 << 30, 10 << 30])
def test_the_log_fits_in(limit: int) -> None:
    """The log is folded in before the reserve could not take what it holds."""
    size = size_for(limit)
    assert 0 < checkpoint_pages(size) <= 4_000
    assert checkpoint_pages(size) * 4096 * 3 <= size * 2
