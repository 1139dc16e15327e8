"""One job as people write it, in the file and over the API alike: when it runs, what it says, and where that goes."""

import re
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from msgspec import UNSET, Meta, UnsetType

from tidegate import cron
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config.section import Section, Table, written
from tidegate.errors import BadRequest
from tidegate.ids import session_key

ISOLATED = "isolated"
CLI_CHAT = "chat:cli"  # the conversation of `tidegate chat`
NOWHERE = "none"
MAX_PROMPT_BYTES = 64 << 10

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HOOK = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LAST_YEAR = 2200

Micros = Annotated[int, Meta(ge=1)]
Names = tuple[Annotated[str, Meta(max_length=128)], ...]


class Job(Section, frozen=True, kw_only=True):
    """What a job is; exactly one of `at`, `every` and `cron` is set."""

    name: str = ""
    prompt: str = ""
    #: an instant as in RFC 3339
    at: str | None = None
    every_ms: Annotated[int, Meta(ge=MINUTE_MS)] | None = None
    #: five fields, or a name such as ``@daily``
    cron: str | None = None
    #: of `cron`, from the IANA database
    timezone: str = "UTC"
    #: None is the first agent
    agent: str | None = None
    #: a new session each time, or the key of a conversation
    session: str = ISOLATED
    #: where the answer of an isolated session goes: ``none``, ``chat:KEY``, ``webhook:NAME``
    deliver: str = NOWHERE
    #: what becomes of instants at which nobody was there
    missed: Literal["once", "skip"] = "once"
    #: what is later than this does not run any more
    max_lateness_ms: Annotated[int, Meta(ge=0)] = DAY_MS
    #: whether it may run while it still runs
    overlap: Literal["forbid", "allow"] = "forbid"
    #: up to so much later, by chance, but the same for the same instant
    jitter_ms: Annotated[int, Meta(ge=0, le=HOUR_MS)] = 0
    #: below that of the kind
    max_runtime_ms: Annotated[int, Meta(ge=1_000)] | None = None
    #: tools that need no approval in its runs
    allow_tools: Names = ()
    #: tools that an isolated session has; None is all of its agent's
    tools: Names | None = None
    #: failures in a row that are told to where the answers go
    alert_after: Annotated[int, Meta(ge=1, le=1_000)] = 3
    #: micro-dollars a day for its runs and all that they start; not told where unset, so that older releases read it
    spend_micros: Micros | UnsetType = UNSET
    #: how it begins its life
    paused: bool = False


class Problem(NamedTuple):
    """Something about a job that makes no sense, at which key, and a hint."""

    key: str | None
    what: str
    hint: str = ""


def problem(job: Job) -> Problem | None:
    """Return the first thing about a job that makes no sense by itself."""
    if not is_name(job.name):
        hint = "use 1 to 64 characters of a-z 0-9 . _ -, the first one a letter or a digit"
        return Problem("name", f"{job.name[:80]!r} is no name for a job", hint)
    if not job.prompt.strip():
        return Problem("prompt", "it says nothing", "write what the agent is to do")
    if len(job.prompt.encode(errors="replace")) > MAX_PROMPT_BYTES or "\0" in job.prompt:
        return Problem("prompt", f"has more than {MAX_PROMPT_BYTES >> 10} KiB, or NUL in it", "shorten it")
    return _schedule_problem(job) or _target_problem(job)


def chat_key(name: str) -> str:
    """Return the key of the conversation that a target ``chat:NAME`` names; ``chat:cli`` is that of `tidegate chat`."""
    return CLI_CHAT if name == CLI_CHAT.removeprefix("chat:") else name


def is_name(text: str) -> bool:
    """Whether a text can be the name of a job."""
    return bool(_NAME.fullmatch(text))


def instant(text: str) -> int:
    """Return an instant as ms since the epoch.

    Raises:
        ValueError: It is none, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 1970 < at.year < _LAST_YEAR:
        raise ValueError(f'{text[:80]!r} is no instant; write for example "2026-12-01T09:00:00+01:00"')
    return int(at.timestamp() * 1_000)


def table(job: Job) -> Table:
    """Return the table that a job is read from, with every key that has a value."""
    return {key: value for key, value in written(job).items() if value != "never"}


def _schedule_problem(job: Job) -> Problem | None:
    ways = [key for key, value in (("at", job.at), ("every", job.every_ms), ("cron", job.cron)) if value]
    if len(ways) != 1:
        what = f"{' and '.join(ways)} exclude each other" if ways else "it has no time"
        return Problem(ways[-1] if ways else None, what, "set one of at, every and cron")
    try:
        cron.zone(job.timezone)
    except ValueError as error:
        return _explained("timezone", error)
    try:
        if job.at:
            instant(job.at)
        if job.cron:
            cron.check(job.cron, job.timezone)
    except ValueError as error:
        return _explained(ways[0], error)
    return None


def _target_problem(job: Job) -> Problem | None:
    if not _is_key(job.session):
        return Problem(
            "session", f"{job.session[:80]!r} cannot be a session key", f'write "{ISOLATED}" or a key'
        )
    way, _, name = job.deliver.partition(":")
    is_known = {
        NOWHERE: job.deliver == NOWHERE,
        "chat": _is_key(name),
        "webhook": bool(_HOOK.fullmatch(name)),
    }
    if not is_known.get(way):
        return Problem(
            "deliver", f"{job.deliver[:80]!r} is no target", 'write "none", "chat:KEY" or "webhook:NAME"'
        )
    if job.session != ISOLATED:
        for key, value in (
            ("deliver", way != NOWHERE),
            ("tools", job.tools),
            ("max_runtime", job.max_runtime_ms),
        ):
            if value:
                hint = f'leave it out, or set session = "{ISOLATED}"'
                return Problem(
                    key, "is for isolated sessions; here everything happens in the one named", hint
                )
    return None


def _is_key(text: str) -> bool:
    try:
        return bool(session_key(text))
    except BadRequest:
        return False


def _explained(key: str, error: ValueError) -> Problem:
    what, _, hint = str(error).partition("; ")
    return Problem(key, what, hint)
