"""Where in a TOML text a key stands, so that an error can name the line.

`tomllib` keeps no places. The text is cut into statements (a header, or a key with its value, however many
lines that takes) by looking only at quotes, comments and brackets; each statement is then read by `tomllib`
itself, so dotted keys, quoted keys and inline tables need no rules of their own here. It takes time linear in
the length of the text, and only once something is wrong. The text must be valid TOML, but for `syntax_line`.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping

Keys = tuple[str, ...]

MAX_DOTS = 16  # in a key; what they take `tomllib` grows with their square

_OPAQUE = (
    r'"""(?:\\.|[^\\])*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'"
    r"|\#[^\n]*"
)
_TOKEN = re.compile(_OPAQUE + r"|[\[\]{}\n]", re.DOTALL)
_STRING = re.compile(_OPAQUE, re.DOTALL)
_DOTTED = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_DOTS + 1}}}")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
_AT = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")


def is_too_dotted(text: str) -> bool:
    """Whether a key has so many parts that reading it would take minutes; what is quoted counts as one part."""
    return _DOTTED.search(_STRING.sub("s", text)) is not None


def item(number: int) -> str:
    """Return the key under which the table of this number, from 0, in an array of tables is looked for."""
    return f"#{number}"


def line_of(text: str, keys: Keys) -> int:
    """Return the line, from 1, on which *keys* are first written, or as many of them as are written."""
    line, depth, table = 1, 0, Keys()
    arrays: Counter[Keys] = Counter()
    for at, statement in _statements(text):
        tree = tomllib.loads(statement)
        if statement.startswith("["):
            table = _header(tree)
            if statement.startswith("[[") and "".join(keys[len(table) :]).startswith("#"):
                arrays[table] += 1
                table = (*table, item(arrays[table] - 1))
            reach = len(table) if keys[: len(table)] == table else _depth(tree, keys)
        elif keys[: len(table)] == table:
            reach = len(table) + _depth(tree, keys[len(table) :])
        else:
            continue
        if reach > depth:
            line, depth = at, reach
    return line


def syntax_line(error: Exception, text: str) -> tuple[int, str]:
    """Return the line of an error of `tomllib`, and what it says without the place."""
    message = str(error)
    match = _AT_LINE.search(message)
    line = int(match[1]) if match else text.rstrip().count("\n") + 1
    return line, _AT.sub("", message)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with its line; blank lines and comments are left out."""
    start, line, open_brackets = 0, 1, 0
    for token in _TOKEN.finditer(text + "\n"):
        if token[0] in {"[", "{"}:
            open_brackets += 1
        elif token[0] in {"]", "}"}:
            open_brackets -= 1
        elif token[0] == "\n" and not open_brackets:
            written = text[start : token.end()]
            if not re.match(r"\s*(#|$)", written):
                yield line, written.strip()
            line += written.count("\n")
            start = token.end()


def _header(tree: Mapping[str, object]) -> Keys:
    """Return the keys in a header; it was read as tables with one key each."""
    keys: list[str] = []
    node: object = tree
    while isinstance(node, dict) and node:
        key, node = next(iter(node.items()))
        keys.append(key)
    return tuple(keys)


def _depth(tree: Mapping[str, object], keys: Keys) -> int:
    """Return how many of *keys*, one below the other, are in *tree*."""
    node: object = tree
    for depth, key in enumerate(keys):
        if not isinstance(node, dict) or key not in node:
            return depth
        node = node[key]
    return len(keys)
