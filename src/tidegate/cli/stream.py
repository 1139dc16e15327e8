"""What happens in a session as it happens, as the gateway streams it.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tidegate.cli.answer import Event
from tidegate.cli.client import Client, Lost, Request, session_path


@contextmanager
def events(client: Client, key: str, after: int, last_id: str = "") -> Iterator[Iterator[Event]]:
    """Open the stream of a session's events; nothing that happens from now on is missed.

    It begins behind *last_id*, the id of the last event that arrived, else behind the entry *after*.

    Raises:
        Lost: The connection broke, here or while the events are read.
    """
    headers = {"Last-Event-ID": last_id} if last_id else None
    request = Request("GET", session_path(key, "events"), {"after": after}, headers=headers)
    with client.open(request) as response:
        client.taken(response.readline)  # it hears us once its first line is here
        yield _events(iter(lambda: client.taken(response.readline), b""))


def _events(lines: Iterator[bytes]) -> Iterator[Event]:
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        if line.startswith(b":"):
            yield Event("", {})
        elif field:
            fields[field] = fields.get(field, b"") + value.removeprefix(b" ")
        elif b"data" in fields:
            yield _event(fields)
            fields = {}
        else:
            fields = {}
    raise Lost("the gateway has closed the stream", hint="`tidegate status` says whether it runs")


def _event(fields: dict[bytes, bytes]) -> Event:
    try:
        data = json.loads(fields[b"data"])
    except ValueError as error:
        raise Lost("what the gateway streams cannot be read") from error
    return Event(fields.get(b"event", b"").decode(), data, fields.get(b"id", b"").decode())
