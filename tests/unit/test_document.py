import json

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tidegate.cli.answer import Entry, Session
from tidegate.cli.document import jsonl, markdown

HEAD = Session(
    id="01", key="k", kind="chat", state="active", outcome=None, parent=None, agent="main", title="",
    created_at="2026-01-02T03:04:05.678Z", due_at=None, due_to=None, entries=1, bytes=1, pinned=False,
)  # fmt: skip

PIECE = st.sampled_from(
    ["```", "````", "~~~", "# x", "## user, now", "> ", "\n", "\n\n", "\r", "\r\n", "    ", "<!--", "<b>", "---", "- ",
     "</script>", "===", "a", "`", "\t", "1. ", "\x0b", "\u2028"]
)  # fmt: skip
TEXT = st.lists(PIECE | st.text(max_size=5), max_size=12).map("".join)


def entry(text: str, tool: str | None) -> Entry:
    """Return an entry with a text."""
    return Entry(
        seq=1, type="tool_result" if tool else "message", role="tool" if tool else "user", text=text, tool=tool,
        call_id=None, is_error=False, run=None, created_at=HEAD["created_at"], bytes=len(text), blob=None,
    )  # fmt: skip


@given(texts=st.lists(st.tuples(TEXT, st.none() | TEXT.filter(bool)), max_size=4), title=TEXT)
@example(texts=[("```\nopen", None), ("<!-- open", None), ("x\n===", None)], title="# x\n\n## y")
def test_no_text_passes_for_the_document(texts: list[tuple[str, str | None]], title: str) -> None:
    """Whatever was written, the headings of the document are its own, one an entry, and no HTML gets through."""
    document = "".join(markdown(Session({**HEAD, "title": title}), [entry(*text) for text in texts]))
    tokens = MarkdownIt().parse(document)
    headings = [token for token in tokens if token.type == "heading_open" and token.level == 0]
    assert [token.tag for token in headings] == ["h1"] + ["h2"] * len(texts)
    assert [token for token in tokens if token.type == "html_block"] == []


@given(text=TEXT)
def test_a_fence_holds_its_text(text: str) -> None:
    """What a tool answered stands there to the letter, but for the ends of lines."""
    document = "".join(markdown(HEAD, [entry(text, "t")]))
    (fence,) = (token for token in MarkdownIt().parse(document) if token.type == "fence")
    as_lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    assert fence.content == as_lines if as_lines.endswith("\n") else as_lines + "\n"


@given(texts=st.lists(st.text(), max_size=4))
def test_lines_hold_everything(texts: list[str]) -> None:
    """Each line of JSONL is one entry, to the letter."""
    lines = "".join(jsonl(HEAD, [entry(text, None) for text in texts])).split("\n")
    assert [json.loads(line) for line in lines[1:-1]] == [entry(text, None) for text in texts]


LINKS = [
    "![",
    "]",
    "(http://x.example/i.png)",
    "[r]",
    "\n[r]: http://x.example/i",
    "\\",
    "`",
    "<",
    "img",
    "a",
    "\n",
]


@given(st.lists(st.sampled_from(LINKS), max_size=14).map("".join))
@example("![x](http://x.example/?secret)")
@example("![x][r]\n\n[r]: http://x.example/i.png")
def test_a_document_fetches_nothing(text: str) -> None:
    """No image comes out of what somebody has said, so nobody is told that it was read."""
    entry = Entry(
        seq=1, type="message", role="user", text=text, tool=None, call_id=None, is_error=False,
        created_at=HEAD["created_at"], bytes=1, blob=None, run=None,
    )  # fmt: skip
    head = Session({**HEAD, "title": text})
    html = MarkdownIt().render("".join(markdown(head, [entry])))
    assert "<img" not in html
