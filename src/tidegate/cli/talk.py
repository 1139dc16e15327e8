"""Messages of a person to one session, each with the answer to it."""

from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import cast

import click

from tidegate.cli import decision
from tidegate.cli.answer import Approval, Entry, Json, Run
from tidegate.cli.client import Answered, Client, Lost, NotRunning, Request, session_path
from tidegate.cli.reply import Reply, Waits, pending
from tidegate.cli.screen import Screen
from tidegate.errors import SessionNotFound, Unavailable

NEW = "/new"
TRIES = 3  # of sending a message whose acknowledgement was lost


class Talk:
    """A conversation in one session."""

    def __init__(self, client: Client, key: str, agent: str | None, *, whole_calls: bool = False) -> None:
        self.key = key
        self._client = client
        self._agent = agent
        self._whole_calls = whole_calls
        #: the last entry before the latest message
        self._before = 0

    def ask(self, text: str) -> tuple[Json, bool]:
        """Send a message; return the gateway's answer to it, and whether its run ended well."""
        answer = self._client.post(session_path(self.key, "messages"), self._body(text), wait=1)
        run = cast("Run", self._client.get(f"/api/runs/{answer['run']}"))
        return answer, run["outcome"] == "ok"

    def say(self, text: str, *, can_decide: bool) -> Reply:
        """Send a message and show its answer as it comes; *can_decide* says whether a person can be asked.

        Raises:
            Waits: The run waits for a decision that was left for later.
        """
        before = None if text.strip() == NEW else self._last_seq()  # which opens another session
        self._before = before or 0
        reply = self._reply()
        decide = self._asked if can_decide else _leave
        reply.follow(lambda: self._send(text), decide, hears_first=before is not None)
        return reply

    def go_on(self) -> None:
        """Ask for the decisions that the session has been waiting for, and follow what they set going."""
        waiting = pending(self._client, self.key)
        if waiting:
            self._before = self._last_seq() or 0
            self._reply().follow(lambda: waiting[0]["run"] or "", self._asked, hears_first=True)

    def calls(self) -> Iterator[Entry]:
        """Yield the tool calls since the latest message, and what they answered."""
        for entry in self._client.entries(self.key, self._before):
            if entry["tool"] is not None:
                yield cast("Entry", {**entry, "text": self._client.text(entry), "blob": None})

    def greeting(self) -> str:
        """Say who answers here, and what is no LLM."""
        model = self._client.get("/api/status")["model"]
        return f"{self.key} · agent {self._named_agent()} · model {model}"

    def _named_agent(self) -> str:
        try:
            return self._client.session(self.key)["agent"]
        except Answered as error:
            if error.code != SessionNotFound.code:
                raise
        return self._agent or agents(self._client)[0]

    def _reply(self) -> Reply:
        screen = Screen(self._client, whole_calls=self._whole_calls)
        return Reply(self._client, screen, self.key, self._before)

    def _asked(self, approvals: list[Approval]) -> bool:
        return decision.ask(self._client, approvals)

    def _last_seq(self) -> int | None:
        try:
            return self._client.session(self.key)["entries"]
        except Answered as error:
            if error.code == SessionNotFound.code:
                return None
            raise

    def _send(self, text: str) -> str:
        """Send a message once, however often that has to be tried; return its run."""
        headers = {"Idempotency-Key": token_hex(16)}
        request = Request("POST", session_path(self.key, "messages"), body=self._body(text), headers=headers)
        lost: Unavailable | None = None
        for _ in range(TRIES):
            try:
                return str(cast("Json", self._client.request(request))["run"])
            except Lost as error:
                lost = error
            except NotRunning as error:
                raise lost or error from None
        raise lost or Unavailable

    def _body(self, text: str) -> dict[str, str]:
        return {"text": text, "agent": self._agent} if self._agent else {"text": text}


def agents(client: Client) -> Sequence[str]:
    """Return the names of the agents, the first one first."""
    return [str(model["id"]) for model in cast("list[Json]", client.get("/v1/models")["data"])]


def tell_later(waits: Waits) -> None:
    """Say how a call is decided on later."""
    for approval in waits.approvals:
        click.echo(
            f"waiting; decide with `tidegate approvals allow {approval['id']}` or `… deny …`", err=True
        )


def _leave(approvals: list[Approval]) -> bool:
    """Show what nobody can be asked about here."""
    for approval in approvals:
        decision.show(approval)
    return False
