"""What a model reads of a session: the end of its transcript, behind the summary of what came before."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import msgspec

from tidegate.agent.prompt import open_calls
from tidegate.agent.tools import interrupted
from tidegate.domain.entry import Assistant, Body, Call, Entry, System, User, opaque_of
from tidegate.domain.run import Run
from tidegate.store.port import Store

READ_FACTOR = 2  # bytes that are read for each byte of a prompt: entries have more than their text


class History(NamedTuple):
    """The transcript as a model gets it; not whole where more lies between the summary and its beginning."""

    bodies: Sequence[Body]
    is_whole: bool


async def history(store: Store, run: Run, max_prompt_bytes: int) -> History:
    """Read what a model reads in a run; what models and users said is read whole, what tools answered is not."""
    context = await store.context(run.session, READ_FACTOR * max_prompt_bytes)
    summary_seq = context.summary.seq if context.summary else 0
    read_beside = [*context.pinned, *([context.summary] if context.summary else [])]
    head = [await whole(store, _bare(entry.body), 0) for entry in read_beside]
    tail = await _said(store, context.entries, READ_FACTOR * max_prompt_bytes)
    counted = [
        body if entry.seq > summary_seq else _uncounted(body)
        for entry, body in zip(context.entries, tail, strict=True)
    ]
    bodies = _instructed_once([*head, *counted])
    return History(_without_lost_calls(bodies, run), context.is_whole)


def _instructed_once(bodies: Sequence[Body]) -> list[Body]:
    """Leave out the instructions of a client that has sent others since."""
    latest = next((body.run for body in reversed(bodies) if isinstance(body, System)), None)
    return [body for body in bodies if not isinstance(body, System) or body.run == latest]


async def whole(store: Store, body: Body, max_opaque_bytes: int) -> Body:
    """Return a body as it was said; a provider's own data are left out where they are above a bound."""
    if body.blob is not None and isinstance(body, System | User | Assistant | Call):
        text = (await store.blob(body.blob.hash)).decode()
        body = cast("Body", msgspec.structs.replace(body, text=text, blob=None))
    if not isinstance(body, Assistant | Call) or body.opaque_blob is None:
        return body
    ref, opaque = body.opaque_blob, ""
    if ref.bytes <= max_opaque_bytes:
        opaque = (await store.blob(ref.hash)).decode()
    return msgspec.structs.replace(body, opaque=opaque, opaque_blob=None)


async def _said(store: Store, entries: Sequence[Entry], max_bytes: int) -> list[Body]:
    found: list[Body] = []
    for entry in reversed(entries):
        found.append(await whole(store, entry.body, max_bytes))
        max_bytes -= len(opaque_of(found[-1]))
    return found[::-1]


def _bare(body: Body) -> Body:
    """Return a body without the provider's own data, which make sense among its neighbours alone."""
    if not isinstance(body, Assistant | Call):
        return body
    return msgspec.structs.replace(body, opaque="", opaque_blob=None, tokens=0)


def _uncounted(body: Body) -> Body:
    """Return a body whose tokens were counted of a longer prompt, without them."""
    return msgspec.structs.replace(body, tokens=0) if isinstance(body, Assistant | Call) else body


def _without_lost_calls(bodies: Sequence[Body], run: Run) -> Sequence[Body]:
    """Answer the open calls that are not this run's own, so that they are not repeated.

    Earlier runs left them when somebody cancelled them, or a request brought them along.
    """
    others = (at for at, body in enumerate(bodies, 1) if body.run != run.id or isinstance(body, User))
    start = max(others, default=0) if run.steps else len(bodies)
    lost = open_calls(bodies[:start])
    return [*bodies[:start], *(interrupted(call) for call in lost), *bodies[start:]]
