import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate.agent.skills import document, front_matter
from tidegate.agent.skills.document import Document
from tidegate.domain.skill import Severity, Skill, is_name

HEAD = "---\nname: foo\ndescription: Does it.\n"


def read(text: str | bytes) -> Document:
    """Read a SKILL.md that lies in a folder `foo`."""
    return document.read(text.encode() if isinstance(text, str) else text, "/skills/foo/SKILL.md")


def told(found: Document) -> list[str]:
    """Return the problems in one line each."""
    return [f"{one.severity} {one.line} {one.message}" for one in found.problems]


def test_a_whole_skill() -> None:
    """Every key of the format is read as text, and the body is what stands below."""
    found = read(
        HEAD
        + "license: Apache-2.0\ncompatibility: needs git\nmetadata:\n  version: 1.0\n  date: 2026-01-01\n"
        "allowed-tools: shell read_file\n---\n# Foo\n\n---\n\nMore.\n"
    )
    assert found.problems == ()
    assert found.body == "# Foo\n\n---\n\nMore.\n"
    assert found.skill == Skill(
        name="foo",
        description="Does it.",
        license="Apache-2.0",
        compatibility="needs git",
        metadata={"version": "1.0", "date": "2026-01-01"},
        allowed_tools=("shell", "read_file"),
    )


@pytest.mark.parametrize(
    "text", ["\ufeff" + HEAD + "---\nx", (HEAD + "---\nx").replace("\n", "\r\n")], ids=["bom", "crlf"]
)
def test_files_of_other_systems(text: str) -> None:
    """A byte order mark and carriage returns are no fault."""
    found = read(text)
    assert (found.problems, found.body) == ((), "x")


def test_long_text() -> None:
    """A description over several lines is one line; what cannot be printed is left out."""
    found = read("---\nname: foo\ndescription: >\n  one\n  two\n  three\n---\nx")
    assert found.skill is not None
    assert found.skill.description == "one two three"
    found = read('---\nname: foo\ndescription: "a\\tb\\u202ec\\e[31m"\n---\nx')
    assert found.skill is not None
    assert found.skill.description == "a bc[31m"
    found = read(HEAD + 'license: "a\\e[2Jb"\nmetadata:\n  "k\\e": "v\\e"\nallowed-tools: ["t\\e"]\n---\nx')
    assert found.skill is not None
    assert (found.skill.license, found.skill.metadata, found.skill.allowed_tools) == (
        "a[2Jb",
        {"k": "v"},
        ("t",),
    )


UNUSABLE: dict[str, tuple[str | bytes, str]] = {
    "no head": ("# Foo\n", "error 1 there is no front matter"),
    "empty": ("", "error 1 there is no front matter"),
    "no end": (HEAD, "error 1 the front matter has no end"),
    "too long": (HEAD + "# x\n" * 5_000, "error 1 the front matter does not end within 16 KiB"),
    "no mapping": ("---\n- a\n---\n", "error 2 the front matter is no list of keys"),
    "open list": ("---\nname: [a\nx: y\n---\n", "error 3 this is no YAML: did not find expected ',' or ']'"),
    "tab": (
        HEAD + "\tx: y\n---\n",
        "error 4 this is no YAML: found a tab character that violates indentation",
    ),
    "alias": ("---\nname: &a foo\ndescription: *a\n---\n", "error 2 anchors and aliases are not taken"),
    "tag": ("---\nname: !!python/name:os.system x\n---\n", "error 2 tags are not taken"),
    "odd key": ("---\n? [a]\n: b\n---\n", "error 2 a key is no text"),
    "control": ("---\nname: a\x01\n---\n", "error 1 this is no YAML: control characters are not allowed"),
    "binary": (b"---\nname: foo\0\n---\n", "error 1 this is no text"),
    "latin-1": (b"---\nname: foo\ndescription: f\xfcr\n---\n", "error 3 this is not UTF-8"),
    "no description": ("---\nname: foo\n---\nx", "error 1 there is no description"),
    "null description": ("---\nname: foo\ndescription: ~\n---\nx", "error 3 there is no description"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used(name: str) -> None:
    """What is no skill is told with its line and a remedy, and is not used."""
    text, expected = UNUSABLE[name]
    found = read(text)
    assert (found.skill, told(found)) == (None, [expected])
    assert all(problem.remedy for problem in found.problems)


COLON = "error 3 this is no YAML: mapping values are not allowed in this context"
LONG = "error 3 the description has 1,025 characters; the rest is not shown"
USABLE = {
    "colon": ("---\nname: foo\ndescription: Use it: now\n---\nx", COLON),
    "other name": ("---\nname: bar\ndescription: d\n---\nx", "warning 2 the name 'bar' is not that of the folder"),
    "upper case": ("---\nname: Foo\ndescription: d\n---\nx", "error 2 'Foo' cannot be a name"),
    "no name": ("---\ndescription: d\n---\nx", "error 1 there is no name"),
    "long": (f"---\nname: foo\ndescription: {'d' * 1_025}\n---\nx", LONG),
    "other key": (HEAD + "version: 1\n---\nx", "warning 4 'version' is no key of a skill"),
    "twice": (HEAD + "name: bar\n---\nx", "warning 4 'name' stands there twice"),
    "nested": (HEAD + "metadata:\n  a: [b]\n---\nx", "warning 4 metadata is not text by key"),
    "list": (HEAD + "license: [a]\n---\nx", "warning 4 license is no text"),
    "compatibility": (HEAD + f"compatibility: {'c' * 501}\n---\nx", "warning 4 compatibility has 501 characters"),
    "no body": (HEAD + "---\n", "warning 1 there is nothing below the front matter"),
}  # fmt: skip


@pytest.mark.parametrize("name", USABLE)
def test_what_is_used_all_the_same(name: str) -> None:
    """What has a name and a description is used in spite of what is wrong with it."""
    text, expected = USABLE[name]
    found = read(text)
    assert found.skill is not None
    assert told(found) == [expected]
    assert len(found.skill.description) <= 1_024


def test_a_bomb_is_defused() -> None:
    """What would unfold into gigabytes, or into a deep recursion, is refused at once."""
    laughs = "---\na: &a [x, x]\n" + "".join(f"b{n}: [*a, *a, *a]\n" for n in range(100)) + "---\n"
    deep = f"---\na: {'[' * 8_000}{']' * 8_000}\n---\n"
    wide = HEAD + f"a: {'{' * 900}{'}' * 900}\n---\nx"
    assert (read(laughs).skill, read(deep).skill) == (None, None)
    assert read(wide).skill is not None


@given(st.text(max_size=300))
def test_no_text_is_too_strange(text: str) -> None:
    """Whatever stands in a file, it is a skill or its problems are told."""
    for data in (text, f"---\n{text}\n---\n", f"{HEAD}{text}\n---\n"):
        found = read(data.encode(errors="replace"))
        assert found.skill is not None or any(one.severity is Severity.ERROR for one in found.problems)


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    """Whatever bytes are in a file, reading it ends well."""
    found = read(data)
    assert found.skill is not None or found.problems


@pytest.mark.parametrize(("name", "is_one"), [
    ("a", True), ("a-b-2", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("-a", False), ("a-", False),
    ("a--b", False), ("A", False), ("a b", False), ("a\n", False), ("ä", False), ("a_b", False), ("٣", False),
])  # fmt: skip
def test_names(name: str, is_one: bool) -> None:  # noqa: FBT001 - of a parameter
    """A name has 1 to 64 characters of a-z and 0-9, with single dashes between."""
    assert is_name(name) == is_one


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True),
        st.from_regex(r"[A-Za-z0-9~][A-Za-z0-9 ,.;()/_`'?!+=:#-]{0,30}", fullmatch=True),
        min_size=1,
    )
)
def test_plain_words_read_as_in_yaml(values: dict[str, str]) -> None:
    """A head that is read without the library means what the library says it means."""
    head = "".join(f"{key}: {value}\n" for key, value in values.items())
    plain = front_matter._plain(head)  # noqa: SLF001 - the short cut itself
    if plain is not None:
        events = [*front_matter._events(head, "SKILL.md")]  # noqa: SLF001 - and the long way
        texts = [event for event in events if event.kind == "text"]
        pairs = zip(texts[::2], texts[1::2], strict=True)
        assert {key: (field.value, field.line) for key, field in plain.items()} == {
            key.text: (value.text, key.line) for key, value in pairs
        }


def test_brackets_are_counted_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser takes the square of how deep they are; it never sees more than a thousand."""
    monkeypatch.setattr(yaml, "parse", None)
    found = read(f"{HEAD}a: {'[{' * 501}\n---\nx")
    assert (None, 4, True) == (
        found.skill,
        found.problems[0].line,
        found.problems[0].message.endswith("nested too deep"),
    )
