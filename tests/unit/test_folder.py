import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tidegate import folder
from tidegate.errors import ConfigError, FolderUnsafe, StorageFailed
from tidegate.folder import BACKUPS, CARD_FILE, TOKEN_FILE, TOKEN_VARIABLE, WORKSPACE, Card
from tidegate.store import lock
from tidegate.store.connection import open_reader

OURS = (TOKEN_FILE, CARD_FILE, lock.NAME, "tidegate.db", "tidegate.db-wal", "tidegate.db-shm")
FOLDERS = (WORKSPACE, BACKUPS)
GOOD = "a-token-of-enough-characters"
STRANGER = 65_534


def as_link(path: Path) -> None:
    """Put a link to a good file there."""
    target = path.parent.parent / "elsewhere"
    target.write_text(GOOD)
    target.chmod(0o600)
    path.symlink_to(target)


def as_dangling_link(path: Path) -> None:
    """Put a link there that would create a file elsewhere."""
    path.symlink_to(path.parent.parent / "not there")


def as_second_name(path: Path) -> None:
    """Put a file there that has another name."""
    path.write_text(GOOD)
    os.link(path, path.parent.parent / "another name")


def as_socket(path: Path) -> None:
    """Put a socket there."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


PLANTED: tuple[Callable[[Path], None], ...] = (
    as_link,
    as_dangling_link,
    as_second_name,
    as_socket,
    lambda path: os.mkfifo(path, 0o600),
    Path.mkdir,
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state folder that its owner has made."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_planted_is_refused(state: Path, name: str, plant: Callable[[Path], None]) -> None:
    """In the place of a file of ours nothing but a plain file of one name is taken, and nothing is waited for."""
    plant(state / name)
    with pytest.raises(FolderUnsafe, match=name) as refused:
        folder.prepare(state)
    assert refused.value.exit_code == 78
    assert refused.value.hint


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_folders(state: Path, name: str) -> None:
    """The workspace and the backups are no links."""
    (state / name).symlink_to(state.parent)
    with pytest.raises(FolderUnsafe, match="is a link"):
        folder.prepare(state)


def test_the_state_folder_is_no_link(state: Path) -> None:
    """A link could be led elsewhere by whoever may write to the folder that it lies in."""
    link = state.parent / "link"
    link.symlink_to(state)
    with pytest.raises(FolderUnsafe, match="is a link"):
        folder.prepare(link)


def test_a_shared_folder_is_not_taken(state: Path) -> None:
    """A folder like /tmp is not made one's own."""
    state.chmod(0o1777)
    with pytest.raises(FolderUnsafe, match="shared"):
        folder.prepare(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o1777


def test_what_is_open_is_closed(state: Path) -> None:
    """What others may read or write is tightened, and each change is told; a second look finds nothing to change."""
    for name in OURS:
        (state / name).write_text(GOOD)
        (state / name).chmod(0o666)
    for name in FOLDERS:
        (state / name).mkdir()
        (state / name).chmod(0o777)
    (state / "not ours").write_text("")
    (state / "not ours").chmod(0o644)
    state.chmod(0o755)

    assert len(folder.prepare(state)) == len(OURS) + len(FOLDERS) + 1
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir())}
    assert modes == {
        "state": 0o700,
        "not ours": 0o644,
        **dict.fromkeys(OURS, 0o600),
        **dict.fromkeys(FOLDERS, 0o700),
    }
    assert list(folder.prepare(state)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_what_is_of_another_user_is_refused(state: Path) -> None:
    """Neither the folder nor a file in it may be of another user, also for root."""
    (state / TOKEN_FILE).write_text(GOOD)
    os.chown(state / TOKEN_FILE, STRANGER, -1)
    with pytest.raises(FolderUnsafe, match="belongs to user 65534"):
        folder.prepare(state)
    (state / TOKEN_FILE).unlink()
    os.chown(state, STRANGER, -1)
    with pytest.raises(FolderUnsafe, match="belongs to user 65534"):
        folder.prepare(state)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("too short", "fewer than 16"),
        (f"{GOOD}\r\n", "carriage return"),
        (f"{GOOD[:10]} {GOOD[10:]}", "no header can carry"),
        (f"{GOOD}ü", "no header can carry"),
        (f"{GOOD}\0", "no header can carry"),
        ("x" * 5_000, "more than 4096"),
    ],
)
def test_tokens_fit_into_a_header(state: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    """A token that is too short, or that no client could send, is refused: the stored one and the given one."""
    (state / TOKEN_FILE).write_text(text)
    (state / TOKEN_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match=why) as refused:
        folder.token(state)
    assert text.strip() not in str(refused.value)
    (state / TOKEN_FILE).unlink()
    if "\0" not in text:
        monkeypatch.setenv(TOKEN_VARIABLE, text)
        with pytest.raises(ConfigError, match=why):
            folder.known_token(state)


def test_a_token_is_made_once(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, or an empty one, a new one is made; the variable goes first."""
    (state / TOKEN_FILE).write_text("\n")
    (state / TOKEN_FILE).chmod(0o600)
    made = folder.token(state)
    assert folder.token(state) == made == folder.known_token(state)
    monkeypatch.setenv(TOKEN_VARIABLE, f" {GOOD}\n")
    assert folder.token(state) == GOOD


def test_a_card_is_its_owners(state: Path) -> None:
    """The token goes nowhere that somebody else could have named."""
    card = Card(url="http://127.0.0.1:1", instance="i", config=None, pid=1)
    folder.leave_card(state, card)
    assert folder.card(state) == card
    state.chmod(0o770)
    with pytest.raises(FolderUnsafe, match="others may write to the state folder"):
        folder.card(state)
    state.chmod(0o755)
    (state / CARD_FILE).chmod(0o620)
    with pytest.raises(FolderUnsafe, match="others may write to"):
        folder.card(state)
    (state / CARD_FILE).unlink()
    assert folder.card(state) is None
    elsewhere = state.parent / "card"
    elsewhere.write_bytes(msgspec.json.encode(card))
    (state / CARD_FILE).symlink_to(elsewhere)
    with pytest.raises(FolderUnsafe, match="is a link"):
        folder.card(state)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_a_card_of_another_user_is_not_believed(state: Path) -> None:
    """Whoever has written it would be sent the token."""
    folder.leave_card(state, Card(url="http://127.0.0.1:1", instance="i", config=None, pid=1))
    os.chown(state / CARD_FILE, STRANGER, -1)
    with pytest.raises(FolderUnsafe, match="belongs to user 65534"):
        folder.card(state)


def test_nobody_waits_for_a_pipe(state: Path) -> None:
    """What only looks (the lock, a reader of the store) meets a pipe and does not wait for it."""
    os.mkfifo(state / lock.NAME, 0o600)
    with pytest.raises(FolderUnsafe, match="no plain file"):
        lock.hold(state)
    os.mkfifo(state / "tidegate.db", 0o600)
    with pytest.raises(StorageFailed, match="is no file"):
        open_reader(state / "tidegate.db")
