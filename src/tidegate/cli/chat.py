"""``tidegate chat``: one message and its answer, or a conversation.

The answer goes to standard output; what belongs to it (tool calls, notices) goes to standard error. A terminal sees
the answer being made, and never gets control characters from it; anything else gets its exact text.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

import click

from tidegate.cli.client import Answered, Client, Entry, Event, session_path
from tidegate.cli.options import json_option, state_option
from tidegate.errors import BadText, SessionNotFound, Unavailable

LINE_CHARS = 100

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Run(TypedDict):
    """A run, as far as a conversation needs it."""

    id: str
    state: str
    outcome: str | None
    error: str


@click.command()
@click.argument("text", required=False)
@click.option(
    "--session", default="chat:cli", show_default=True, metavar="KEY", help="The session to talk in."
)
@click.option(
    "--agent", metavar="NAME", help="The agent to talk to (default: the session's, else the first)."
)
@state_option
@json_option
def chat(text: str | None, session: str, agent: str | None, state: Path | None, *, as_json: bool) -> None:
    """Talk to an agent.

    Sends TEXT, or what standard input holds where TEXT is `-` or missing, and prints the answer. Without TEXT on
    a terminal it is a conversation.
    """
    talk = Talk(Client(state), session, agent)
    message = _message(text)
    if message is None:
        if as_json:
            raise click.UsageError("--json needs a TEXT")
        talk.converse()
    elif not (talk.ask(message) if as_json else talk.say(message)):
        raise click.exceptions.Exit(1)


def plain(text: str) -> str:
    """Return a text that cannot move a terminal's cursor or change its colours."""
    return _CONTROL.sub("�", text)


def folded(text: str) -> str:
    """Return the start of a text in one line."""
    line = plain(" ".join(text[: 4 * LINE_CHARS].split()))
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"


def call_line(entry: Entry) -> str:
    """Return a tool call in one line."""
    return f"→ {entry['tool']} {folded(entry['text'])}"


class Talk:
    """A conversation in one session."""

    def __init__(self, client: Client, key: str, agent: str | None) -> None:
        self._client = client
        self._key = key
        self._agent = agent

    def ask(self, text: str) -> bool:
        """Send a message and print its answer as JSON; return whether the run ended well."""
        answer = self._client.post(session_path(self._key, "messages"), self._body(text), wait=1)
        click.echo(json.dumps(answer))
        return self._client.get(f"/api/runs/{answer['run']}")["outcome"] == "ok"

    def say(self, text: str) -> bool:
        """Send a message and show its answer as it comes; return whether the run ended well."""
        after = self._last_seq()
        if after is None:
            run = self._send(text)
            with self._client.events(self._key, 0) as events:
                return self._hear(Answer(self._client, self._key, run, 0), events)
        with self._client.events(self._key, after) as events:
            return self._hear(Answer(self._client, self._key, self._send(text), after), events)

    def converse(self) -> None:
        """Take messages until the input ends."""
        import readline  # noqa: F401, PLC0415 - gives `input` a history

        click.secho(f"{self._key}: Ctrl-D ends, Ctrl-C stops an answer", dim=True, err=True)
        while (line := _typed()) is not None:
            with suppress(KeyboardInterrupt):
                self._turn(line)

    def _turn(self, line: str) -> None:
        try:
            if line.strip():
                self.say(line)
        except Answered as error:
            click.echo(f"error: {error.message}", err=True)

    def _hear(self, answer: "Answer", events: Iterator[Event]) -> bool:
        try:
            return answer.follow(events)
        except KeyboardInterrupt:
            self._client.post(f"/api/runs/{answer.run}/cancel")
            click.secho("\ncancelled", dim=True, err=True)
            raise

    def _last_seq(self) -> int | None:
        try:
            return self._client.session(self._key)["entries"]
        except Answered as error:
            if error.code == SessionNotFound.code:
                return None
            raise

    def _send(self, text: str) -> str:
        return str(self._client.post(session_path(self._key, "messages"), self._body(text))["run"])

    def _body(self, text: str) -> dict[str, str]:
        return {"text": text, "agent": self._agent} if self._agent else {"text": text}


class Answer:
    """What is shown of one run."""

    def __init__(self, client: Client, key: str, run: str, after: int) -> None:
        self.run = run
        self._client = client
        self._key = key
        self._seq = after
        #: pieces that stand on the screen and whose entry has not come yet
        self._pieces = ""
        self._is_terminal = sys.stdout.isatty()
        self._is_explained = False

    def follow(self, events: Iterator[Event]) -> bool:
        """Show what comes until the run is done; return whether it ended well."""
        run = self._done()
        while run is None:
            run = self._on(next(events))
        for entry in self._client.entries(self._key, self._seq):
            self._tell(entry)
        if run["outcome"] != "ok" and not self._is_explained:
            self._warn(run["error"] or str(run["outcome"]).replace("_", " "))
        return run["outcome"] == "ok"

    def _on(self, event: Event) -> Run | None:
        data = event.data
        match event.name:
            case "entry":
                self._tell(cast("Entry", data))
            case "delta" if data["run"] == self.run:
                self._piece(str(data["text"]))
            case "run" if data["id"] == self.run:
                return self._done()
            case "end" if data["reason"] == "deleted":
                raise SessionNotFound(f"session {self._key!r} has been deleted")
            case "end":
                raise Unavailable("the gateway stops", hint="the message is answered after its next start")
            case "":
                # the end of the run may be among the events that a slow reader is not sent
                return self._done()
        return None

    def _done(self) -> Run | None:
        run = cast("Run", self._client.request("GET", f"/api/runs/{self.run}"))
        return run if run["state"] == "done" else None

    def _tell(self, entry: Entry) -> None:
        if entry["seq"] <= self._seq:
            return
        self._seq = entry["seq"]
        if entry["run"] != self.run:
            return
        if entry["type"] == "tool_call":
            click.secho(call_line(entry), dim=True, err=True)
        elif entry["type"] == "notice":
            self._is_explained = True
            self._warn(entry["text"])
        elif entry["role"] == "assistant" and entry["text"]:
            self._say(self._client.text(entry))

    def _piece(self, text: str) -> None:
        if self._is_terminal:
            self._pieces += text
            print(plain(text), end="", flush=True)

    def _warn(self, text: str) -> None:
        self._end_line()
        click.echo(plain(text), err=True)

    def _end_line(self) -> None:
        """Leave pieces that no entry will replace."""
        if self._pieces:
            print(flush=True)
        self._pieces = ""

    def _say(self, text: str) -> None:
        """Print an answer, or what of it is not on the screen yet."""
        if not text.startswith(self._pieces):
            self._end_line()
        rest = text[len(self._pieces) :]
        self._pieces = ""
        print(plain(rest) if self._is_terminal else rest, flush=True)


def _message(text: str | None) -> str | None:
    """Return the message; None where a person is to type it."""
    if text not in {None, "-"}:
        return text
    if text is None and sys.stdin.isatty():
        return None
    try:
        message = sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise BadText(f"standard input is not UTF-8: byte {error.start + 1}") from error
    if not message:
        raise click.UsageError("standard input holds no message")
    return message


def _typed() -> str | None:
    """Return the next line that a person types; None when there are no more."""
    while True:
        try:
            return input("> ")
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return None
