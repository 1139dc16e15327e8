"""Structured log events: a fixed name, then keys; one line each on stderr. What libraries log comes in the same form.

People get readable lines on a terminal and JSON elsewhere. No message text and no secret is logged above DEBUG; control
characters are escaped by the renderers, and long values are cut, so that a log line cannot be forged or flooded (T26).
"""

import json
import logging
import sys
from collections import deque
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, TextIO, cast

# structlog imports rich wherever it is installed, for coloured tracebacks: 4 MB that a gateway has no use for. A module
# that is None cannot be imported; afterwards commands that print tables can.
_hidden = {"rich": sys.modules.pop("rich", None)}
sys.modules["rich"] = None  # type: ignore[assignment]  # documented: https://docs.python.org/3/reference/import.html
import structlog  # noqa: E402

del sys.modules["rich"]
sys.modules.update({name: module for name, module in _hidden.items() if module is not None})

MAX_VALUE = 2_000  # characters a field
RECENT = 500  # events that can be asked for later; none is longer than `RECENT_CHARS` as JSON
RECENT_CHARS = 2_000

#: takes out of a line what must not stand in it; nothing until somebody knows what that is
_hidden_from: list[Callable[[str], str]] = []

Logger = structlog.typing.FilteringBoundLogger


class Line(NamedTuple):
    """One event as JSON, and how many came before it."""

    number: int
    text: str


_recent: deque[Line] = deque(maxlen=RECENT)
_numbers = count(1)


def setup(level: int = logging.INFO) -> None:
    """Send events of a level or above to stderr: for people on a terminal, as JSON otherwise."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=True, pad_event_to=22)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _cut_and_escape,
            structlog.processors.format_exc_info,
            _escape_trace,
            _keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)  # noqa: FBT003 - its signature
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_Library()], force=True)


def hide(clean: Callable[[str], str]) -> None:
    """Let *clean* take secrets out of every line from now on, in the place of what did so before."""
    _hidden_from[:] = [clean]


def recent(after: int = 0) -> list[Line]:
    """Return the latest events that came after one of them, in order."""
    return [line for line in _recent if line.number > after]


def get(name: str) -> Logger:
    """Return the logger for one part of the house."""
    logger: Logger = structlog.get_logger(part=name)
    return logger


class _Library(logging.Handler):
    """Passes on what a library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one event on."""
        get(record.name).log(record.levelno, "library", said=record.getMessage(), exc_info=record.exc_info)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Leave out what cannot be said."""


class _Stderr:
    """Standard error as it is when a line is written: loggers outlive the stream that there was at first.

    A line that it does not take is lost: where it leads to a file on a full disk, a line less is the least of losses.
    """

    def write(self, text: str) -> int:
        """Write a line."""
        with suppress(OSError):
            sys.stderr.write(_cleaned(text))
        return len(text)

    def flush(self) -> None:
        """Hand it on."""
        with suppress(OSError):
            sys.stderr.flush()


def _cleaned(text: str) -> str:
    for clean in _hidden_from:
        text = clean(text)
    return text


def _cut_and_escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = value = _cleaned(value)  # noqa: PLW2901 - before it is cut, so that no half of a secret stays
        if isinstance(value, str) and (len(value) > MAX_VALUE or not value.isprintable()):
            event[key] = value[:MAX_VALUE].encode("unicode_escape").decode("ascii")
    return event


def _keep(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remember an event for those who ask later; one that is too long without its values."""
    text = _cleaned(json.dumps(event, default=str))
    if len(text) > RECENT_CHARS:
        kept = ("timestamp", "level", "part", "event")
        text = json.dumps({key: str(event.get(key, ""))[:200] for key in kept} | {"cut": True})
    _recent.append(Line(next(_numbers), text))
    return event


def _escape_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the lines of a traceback, and nothing that steers a terminal: its last one may be a stranger's words."""
    trace = event.get("exception")
    if isinstance(trace, str):
        event["exception"] = "".join(
            one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode("ascii")
            for one in trace
        )
    return event
