"""Server-sent events, as a browser reads them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event; its data is JSON."""

    name: str
    id: str
    data: Any


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Read events until the stream ends; comments and hints at the delay are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = fields[name] + "\n" + value.lstrip() if name in fields else value.lstrip()
        elif "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}
