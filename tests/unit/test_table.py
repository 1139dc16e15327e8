import tracemalloc
from collections.abc import Iterator

import pytest

from tidegate.cli.table import Row, count_table, table


def test_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal columns are aligned, wide characters count as they are wide, and nothing steers anything."""
    rows = [["a", "1"], ["潮汐", "100"], ["[b]x\x1b[31m", "7"]]
    table({"name": "left", "n": "right"}, rows, spare=("n",))
    assert capsys.readouterr().out.splitlines() == [
        "name         n",
        "a            1",
        "潮汐       100",
        "[b]x�[31m    7",
    ]


def test_nobody_makes_up_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A line break or a tab in a cell stays in its row."""
    table({"name": "left", "n": "right"}, [["a\nb\t\rc", "1"]])
    assert capsys.readouterr().out.splitlines()[1:] == ["a b �c  1"]


def test_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are no rows, the names of the columns are there."""
    table({"name": "left", "n": "right"}, [])
    assert capsys.readouterr().out == "name  n\n"


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """A number for each kind and state; what is zero does not catch the eye."""
    count_table({"chat": {"active": 3, "archived": 0}})
    assert capsys.readouterr().out.splitlines()[1].split() == ["chat", "3", "·"]


def test_a_long_table_is_printed_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 rows take no more memory than a thousand."""
    monkeypatch.setattr("click.echo", lambda _: None)

    def rows(count: int) -> Iterator[Row]:
        return ([f"row {number}", "x" * 100] for number in range(count))

    peaks = []
    for count in (1_000, 100_000):
        tracemalloc.start()
        table({"a": "left", "b": "left"}, rows(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
