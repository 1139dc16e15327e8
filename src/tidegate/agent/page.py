"""What a web page says, as text that a model can read.

The character set is found as browsers find it; HTML is turned into Markdown in a process with limits (`extractor`).
"""

import codecs
import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from tidegate.agent import child
from tidegate.agent.child import Limits, Program
from tidegate.agent.tools import ToolFailed
from tidegate.extras import how_to_install

EXTRACTOR = Path(__file__).with_name("extractor.py")
EXTRACT_S = 20.0
EXTRACT_BYTES = 2 << 30  # of address space
SNIFF_BYTES = 1_024  # of a page that says its character set itself
MAX_ANSWER_BYTES = 16 << 20

HTML = frozenset({"text/html", "application/xhtml+xml"})
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
#: what pages call so is another one in fact, as browsers know
_MEANT = {"iso8859-1": "cp1252", "ascii": "cp1252"}
_REFUSED = frozenset({"utf-7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page as text."""

    title: str = ""
    text: str
    is_cut: bool


def media_type(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the media type that an answer claims, in small letters, and its character set."""
    kind, *parameters = headers.get("content-type", "").split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    charset = next((value for key, _, value in pairs if key.strip().lower() == "charset"), "")
    return kind.strip().lower(), charset.strip().strip("\"'")


def decoded(data: bytes, charset: str, *, is_html: bool) -> str:
    """Return text: by its mark, else by *charset*, else by what the page says, else UTF-8, else windows-1252."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    said = _CHARSET.search(data[:SNIFF_BYTES]) if is_html else None
    known = _codec(charset) or (_codec(said[1].decode()) if said else None)
    if known:
        return data.decode(known, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        is_cut = error.start > SNIFF_BYTES and error.reason == "unexpected end of data"
        return data.decode("utf-8" if is_cut else "cp1252", "replace")


async def extracted(html: str, url: str, max_chars: int) -> Page:
    """Turn HTML into Markdown.

    Cancellation: ends the process.

    Raises:
        ToolFailed: The library is missing, or the page is too much for it.
    """
    if find_spec("html_to_markdown") is None:
        raise ToolFailed("web pages need what is not installed", hint=how_to_install("web"))
    order = {"html": html.encode(errors="replace").decode(), "url": url, "max_chars": max_chars}
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program = Program(
            argv=[sys.executable, "-P", str(EXTRACTOR)],
            folder=here,
            environment={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
            stdin=msgspec.json.encode(order),
        )
        ended = await child.run(
            program,
            Limits(seconds=EXTRACT_S, memory_bytes=EXTRACT_BYTES, output_bytes=MAX_ANSWER_BYTES),
        )
    finally:
        os.close(here)
    if ended.timed_out or ended.code != 0 or ended.dropped:
        raise ToolFailed("the page could not be turned into text")
    return msgspec.json.decode(ended.head + ended.tail, type=Page)


def _codec(name: str) -> str | None:
    """Return the codec that a page means by a name, if it is one of text."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if found.name in _REFUSED or not found._is_text_encoding:  # noqa: SLF001 - the only way to tell
        return None
    return _MEANT.get(found.name, found.name)
