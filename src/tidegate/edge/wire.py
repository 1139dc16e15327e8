"""What goes over the wire: strict JSON in, plain JSON out, and errors as status and code.

Decoding happens once, here.
"""

from functools import partial
from typing import Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tidegate import strict_json
from tidegate.clock import iso
from tidegate.config.job import table as job_table
from tidegate.domain.approval import Approval
from tidegate.domain.entry import Assistant, Call, Entry, Result, role_of, text_bytes, type_of
from tidegate.domain.fact import Fact
from tidegate.domain.job import Firing, Job
from tidegate.domain.run import Run
from tidegate.domain.session import Session
from tidegate.errors import BadMessage, BadRequest, BadText, TidegateError, TooLarge, Unavailable
from tidegate.strict_json import MAX_LOOP_BYTES, HalfPair, NotStrict
from tidegate.threads import on_thread
from tidegate.units import exact_size

T = TypeVar("T")

#: of each stream: nothing on the way keeps it, waits for more of it, or packs it
STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
MAX_BODY_BYTES = 4 << 20

_LINE_ENDS = tuple((mark.encode(), b"\\u%04x" % ord(mark)) for mark in "\u0085\u2028\u2029")
_encode = msgspec.json.Encoder().encode


class Json(Response):
    """A JSON response; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode the content."""
        return _encode(content)


class MessageIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a message to a session."""

    text: str
    agent: str | None = None
    #: what a busy session does with it; by default what its agent is used to
    busy: Literal["queue", "interrupt"] | None = None


def event_data(content: object) -> bytes:
    """Encode what an event of a stream holds; many clients take these marks for the end of a line."""
    data = _encode(content)
    for mark, escape in _LINE_ENDS:
        data = data.replace(mark, escape)
    return data


async def body_of(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Read a body, up to a limit, without holding more than that.

    Raises:
        TooLarge: There is more.
        BadRequest: The client hung up.
    """
    declared = request.headers.get("content-length", "0")
    parts = bytearray()
    if not declared.isdecimal() or int(declared) <= limit:
        try:
            async for part in request.stream():
                parts += part
                if len(parts) > limit:
                    break
            else:
                return bytes(parts)
        except ClientDisconnect:  # nobody is there to read this, and a stranger must not fill the log
            raise BadRequest("the client hung up before the end of the body") from None
    raise TooLarge(f"the body has more than {exact_size(limit)}", hint="send less at once")


async def decode(body: bytes, shape: type[T]) -> T:
    """Read strict JSON of a shape, on a thread if it is long; an empty body is ``{}``.

    Raises:
        BadMessage: It is not JSON, not of this shape, or above a bound; the message names the place.
        BadText: A text in it holds half a surrogate pair.
    """
    if len(body) <= MAX_LOOP_BYTES:
        return decoded(body, shape)
    return await on_thread(partial(decoded, body, shape))


def decoded(body: bytes, shape: type[T]) -> T:
    """Do what `decode` does, at once."""
    try:
        return msgspec.convert(strict_json.read(body or b"{}"), shape)
    except HalfPair as error:
        raise BadText(f"the body {error}") from None
    except NotStrict as error:
        raise BadMessage(f"the body {error}") from None
    except msgspec.ValidationError as error:
        raise BadMessage(f"the body does not fit: {error}") from None


def failed(error: TidegateError) -> Json:
    """Answer an error in the house's own shape."""
    content = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return Json(content, status_code=error.status, headers=retry_header(error))


def retry_header(error: TidegateError) -> dict[str, str]:
    """Return when a repetition makes sense, as a header."""
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else {}


def session_out(session: Session, parent: str | None = None) -> dict[str, object]:
    """Show a session; *parent* is the key of the session above it."""
    return {
        "id": session.id,
        "key": session.key,
        "kind": session.kind,
        "state": session.state,
        "outcome": session.outcome,
        "parent": parent,
        "agent": session.agent,
        "title": session.title,
        "created_at": iso(session.created_at),
        "updated_at": iso(session.updated_at),
        "due_at": _instant(session.due_at),
        "due_to": session.due_to,
        "entries": session.entries,
        "hot_entries": session.hot_entries,
        "bytes": session.bytes,
        "snapshot": session.snapshot,
        "pinned": session.pinned,
    }


def entry_out(entry: Entry) -> dict[str, object]:
    """Show an entry, flat; what was broken off or had no room to end is marked so, and what has its usage estimated."""
    body = entry.body
    marks = {}
    if isinstance(body, Assistant):
        marks = {name: True for name, is_so in (("partial", body.is_partial), ("cut", body.is_cut)) if is_so}
    if isinstance(body, Assistant | Call) and body.is_estimated:
        marks["estimated"] = True
    tool, call_id = (body.tool, body.call_id) if isinstance(body, Call | Result) else (None, None)
    return {
        "seq": entry.seq,
        "type": type_of(body),
        "role": role_of(body),
        "text": body.text,
        "tool": tool,
        "call_id": call_id,
        "is_error": isinstance(body, Result) and body.is_error,
        "run": body.run,
        "created_at": iso(body.at),
        "bytes": text_bytes(body),
        "blob": body.blob,
        **marks,
    }


def run_out(run: Run, key: str) -> dict[str, object]:
    """Show a run; *key* is its session's."""
    return {
        "id": run.id,
        "session": key,
        "lane": run.lane,
        "origin": run.origin,
        "state": run.state,
        "parked": run.parked_at is not None,
        "outcome": run.outcome,
        "error": run.error,
        "steps": run.steps,
        "input_tokens": run.usage.input_tokens,
        "output_tokens": run.usage.output_tokens,
        "created_at": iso(run.created_at),
        "started_at": _instant(run.started_at),
        "finished_at": _instant(run.finished_at),
    }


def approval_out(approval: Approval, key: str | None) -> dict[str, object]:
    """Show an approval; *key* is its session's, None where the call is always allowed."""
    return {
        "id": approval.id,
        "session": key,
        "run": approval.run or None,
        "agent": approval.agent,
        "call_id": approval.question.call_id,
        "tool": approval.question.tool,
        "arguments": approval.question.arguments,
        "state": approval.state,
        "created_at": iso(approval.created_at),
        "expires_at": iso(approval.expires_at),
        "decided_at": _instant(approval.decided_at),
    }


def job_out(job: Job, problem: str | None = None) -> dict[str, object]:
    """Show a job: as it would stand in the configuration, how it is, and why it is put aside, if it is."""
    return {
        **job_table(job.definition),
        "origin": job.origin,
        "creator": job.creator or None,
        "paused": job.paused,
        "created_at": iso(job.created_at),
        "next_at": _instant(job.wakes_at),
        "fired_through": iso(job.fired_through),
        "failures": job.failures,
        "problem": problem,
    }


def fact_out(fact: Fact, key: str | None) -> dict[str, object]:
    """Show a fact; *key* is that of the session that has said it."""
    return {
        "id": fact.id,
        "agent": fact.agent,
        "text": fact.text,
        "entity": fact.entity or None,
        "key": fact.key or None,
        "value": fact.value or None,
        "category": fact.category or None,
        "importance": fact.importance,
        "origin": fact.origin,
        "source": key,
        "created_at": iso(fact.created_at),
        "updated_at": iso(fact.updated_at),
        "used_at": iso(fact.used_at),
        "expires_at": _instant(fact.expires_at),
    }


def firing_out(firing: Firing, key: str | None) -> dict[str, object]:
    """Show what became of an instant; *key* is its session's."""
    return {
        "job": firing.job,
        "instant": iso(firing.instant),
        "outcome": firing.outcome,
        "count": firing.count,
        "asked": firing.is_asked,
        "run": firing.run,
        "session": key,
        "open": firing.is_open,
        "result": firing.result,
        "note": firing.note,
        "created_at": iso(firing.created_at),
        "ended_at": _instant(firing.ended_at),
    }


def _instant(at: int | None) -> str | None:
    return None if at is None else iso(at)
