"""Texts of strangers on a terminal: what a model, a tool or a user of the API wrote can never steer it.

Source: https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
"""

import re

LINE_CHARS = 100

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Return a text that cannot move a cursor, change colours or turn its reading order; lines and tabs stay."""
    return _CONTROL.sub("�", text)


def literal(text: str) -> str:
    """Return a text in one line in which nothing hides: whatever cannot be seen is spelled out."""
    return "".join(one if one.isprintable() else f"<U+{ord(one):04X}>" for one in text)


def folded(text: str, limit: int = LINE_CHARS) -> str:
    """Return the start of a text in one line."""
    line = plain(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
