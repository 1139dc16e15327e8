from pathlib import Path

import pytest

from tidegate.cli.history import KEPT, MAX_CHARS, History, place


def test_lines_come_back(tmp_path: Path) -> None:
    """What was typed is there again, lines that were pasted together as one; what is not to be kept is not."""
    path = tmp_path / "a/history"
    history = History(path)
    for line in ("one", "two\nthree", "two\nthree", " secret", "x" * (MAX_CHARS + 1), "ü\ud800"):
        history.add(line)
    assert History(path).lines == ["one", "two\nthree", "ü\ud800"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_levels_off(tmp_path: Path) -> None:
    """However much is typed, in however many conversations, the file has a bound."""
    path = tmp_path / "history"
    for talk in range(5):
        history = History(path)
        for number in range(KEPT - 1):
            history.add(f"{talk} {number}")
    assert len(path.read_text().splitlines()) <= 2 * KEPT
    assert len(history.lines) <= 2 * KEPT
    assert History(path).lines[-1] == f"4 {KEPT - 2}"
    assert len(History(path).lines) == KEPT


def test_what_is_no_history(tmp_path: Path) -> None:
    """A file that is damaged, a link, or a place that cannot be written to: there is no history, and no failure."""
    path = tmp_path / "history"
    path.write_bytes(b'"good"\n{}\nnonsense\n')
    assert History(path).lines == ["good"]
    path.write_bytes(b"\xff")
    assert History(path).lines == []
    target = tmp_path / "target"
    target.touch()
    link = tmp_path / "link"
    link.symlink_to(target)
    History(link).add("x")
    assert target.read_bytes() == b""
    History(target / "below").add("x")


def test_it_lies_outside_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The state folder is the gateway's; what a person types lies beside it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert place() == tmp_path / "tidegate-cli/chat_history"
