"""The named queries, read once at import; values are bound, never formatted.

A query stands under a line ``-- name: NAME``; comments above that line explain it. The same text serves every
database: what only one of them can say lies in its migrations.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_HERE = Path(__file__).parent  # importlib.resources takes a megabyte
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def _read() -> dict[str, str]:
    queries: dict[str, str] = {}
    for file in sorted(_HERE.iterdir()):
        if file.name.endswith(".sql"):
            parts = _NAME.split(file.read_text())
            queries.update(zip(parts[1::2], map(_statement, parts[2::2]), strict=True))
    return queries


def _statement(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("--")).strip()


QUERIES: Mapping[str, str] = _read()


def migrations() -> list[str]:
    """Return the scripts of the SQLite schema in order; the first one is version 1."""
    scripts = sorted((_HERE / "migrations").iterdir())
    return [script.read_text() for script in scripts if script.name.endswith(".sql")]
