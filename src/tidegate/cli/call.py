"""Tool calls as people see them: one line each, or whole."""

import json
from datetime import datetime

from tidegate.cli.answer import Entry
from tidegate.cli.text import folded, literal, plain
from tidegate.units import print_size, print_span

SHORT_MS = 10_000  # below, tenths of a second matter


def call_line(call: Entry) -> str:
    """Return a call in one line: its tool and the start of its arguments."""
    return f"→ {literal(call['tool'] or '')} {folded(call['text'])}".rstrip()


def result_note(result: Entry, call: Entry | None = None) -> str:
    """Say how a call went: what went wrong, or how much came back; and how long it took."""
    took = f" in {_span(call, result)}" if call else ""
    return (
        f"failed{took}: {folded(result['text'])}"
        if result["is_error"]
        else f"{print_size(result['bytes'])}{took}"
    )


def whole_call(call: Entry, text: str) -> str:
    """Return a call with all of its arguments."""
    return f"→ {literal(call['tool'] or '')}\n{indented(_pretty(text))}"


def whole_result(result: Entry, text: str, call: Entry | None = None) -> str:
    """Return all that a tool answered."""
    return f"← {literal(result['tool'] or '')} · {result_note(result, call)}\n{indented(text)}"


def indented(text: str) -> str:
    """Return a text that stands apart from what is around it."""
    return "\n".join(f"  {line}" for line in plain(text).splitlines())


def _pretty(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, indent=2)
    except ValueError:
        return arguments


def _span(call: Entry, result: Entry) -> str:
    passed = datetime.fromisoformat(result["created_at"]) - datetime.fromisoformat(call["created_at"])
    ms = int(passed.total_seconds() * 1_000)
    return f"{ms / 1_000:.1f} s" if ms < SHORT_MS else print_span(ms)
