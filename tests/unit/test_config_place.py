import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.place import line_of


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[x]\n[a]\n\nb.c = 1", 4),
        ("a.b.c = 1", 1),
        ("[a]\nd = '''\n[a.b]\nc = 1\n'''\n[a.b]\nc = 1", 7),
        ("[a]\nd = [\n  '[', # ]\n]\nb = {\"c\" = 1}", 5),
        ('# [a]\n[\'a\' . "b"] # ]\n"c" = 1', 3),
        ("[a]\nd = '\\'\nb.'c' = 1", 3),
        ('[a]\nd = "\\"["\ne = """\\""" \n"""\n[a.b]\nc = [\n1]', 6),
        ('[a]\nd = """x"""""\nb.c = 1', 3),
        ("[a]\nx = 1\n[[a.b]]\nc = 1", 4),
        ("[a]\nx = 1\n[b]\nc = 1", 1),
        ("[b]\nx = 1", 1),
        ("", 1),
    ],
)
def test_the_line_of_a_key(text: str, line: int) -> None:
    """The line is right for tables, dotted and quoted keys, inline tables, and below long values."""
    assert line_of(text, ("a", "b", "c")) == line


VALUES = st.sampled_from(
    ["1", "'#['", '"""\n]"""', "'''\n[a]\nk = 1\n'''", "[\n 1, # ]\n [2],\n]", "{x = '}'}"]
)


@given(st.lists(VALUES, max_size=12), st.integers(0, 3))
def test_lines_after_any_values(values: list[str], blank: int) -> None:
    """Whatever stands above a key, its line is counted right."""
    above = "[a]\n" + "".join(f"k{n} = {value}\n" for n, value in enumerate(values)) + "\n" * blank
    assert line_of(f"{above}wanted = 1 # x\n[b]\nwanted = 2\n", ("a", "wanted")) == above.count("\n") + 1
