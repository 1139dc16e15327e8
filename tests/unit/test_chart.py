from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.chart import ASCII, HEIGHT, Column, chart, fitted, line, style_of

COLUMNS = st.lists(
    st.tuples(st.floats(-1e12, 1e12), st.integers(1, 4)).map(lambda pair: Column(*pair)), max_size=300
)


def rising(count: int, boot: int = 1) -> list[Column]:
    """Return columns that rise from 0."""
    return [Column(value, boot) for value in range(count)]


def test_a_rising_line() -> None:
    """The least value is the lowest mark, the most the highest."""
    assert "▁▂▃▄▅▆▇█" == line(rising(8), 8, style_of("utf-8"))
    assert ".:-=+*%#" == line(rising(8), 8, style_of("ascii"))
    assert "▁▁▁" == line([Column(5, 1)] * 3, 8, style_of("utf-8"))
    assert "" == line([], 8, style_of("utf-8"))


def test_a_restart_is_shown() -> None:
    """A line stands between two lives."""
    assert "▁▅┊▁█" == line([*rising(2), Column(0, 2), Column(2, 2)], 8, style_of("utf-8"))
    assert ".|#" == line([Column(0, 1), Column(1, 2)], 8, style_of("latin-1"))


def test_a_chart_has_a_scale() -> None:
    """The most stands at the top of a chart, the least at its foot."""
    rows = chart(rising(30), 40, "{:.0f} B".format, style_of("utf-8"))
    assert HEIGHT == len(rows)
    assert rows[0].startswith("29 B ┤")
    assert rows[-1].startswith(" 0 B ┤▁")
    assert ["(nothing yet)"] == chart([], 40, str, style_of("utf-8"))


@given(COLUMNS, st.integers(10, 120))
def test_it_fits(columns: list[Column], width: int) -> None:
    """No chart is wider than the terminal, and without UTF-8 it is plain ASCII."""
    drawn = style_of("ascii")
    rows = [*chart(columns, width + 12, "{:.0e}".format, drawn), line(columns, width, drawn)]
    assert all(row.isascii() for row in rows)
    assert len(rows[-1]) <= width
    assert all(len(row) <= width + 12 for row in rows[:-1]) or not columns
    assert set(rows[-1]) <= set(ASCII + "|")
    assert len(fitted(columns, width)) <= width
