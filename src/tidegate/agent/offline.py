"""The model that every installation has: deterministic, without a network, and no LLM.

It obeys a handful of commands (`COMMANDS`), so that a gateway can be tried, tested and measured without a
provider, and answers everything else with a sentence that says what it is. It looks at the current turn
alone, which starts at the last user message; the same prompt always gets the same answer.
"""

import asyncio
import re
import shlex
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import msgspec

from tidegate.agent import distillation
from tidegate.agent.digest import digest
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall
from tidegate.agent.tools import MAX_RESULT_BYTES, Caller, Reach, Tool, decoded, spec
from tidegate.domain.entry import Body, Result, User, text_bytes
from tidegate.domain.run import Usage

MAX_WAIT_S = 3600
PIECES = 5  # how many deltas an answer comes in, at most
QUOTE_CHARS = 200
CHARS_PER_TOKEN = 4  # an estimate, as good as any without a tokenizer

_COMMAND = re.compile(r"/([a-z]+)(?:\s(.*))?", re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+)$", re.MULTILINE)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a command sees of the conversation."""

    message: str
    #: the word after the slash; empty if the message is no command
    command: str
    #: what follows it, exactly
    argument: str
    #: what the calls of this turn answered, by their ids
    results: Mapping[str, Result]
    #: the id that a new call gets
    call_id: str

    @property
    def result(self) -> Result | None:
        """What the latest call of this turn answered."""
        return next(reversed([*self.results.values()]), None)

    def call(self, tool: str, **arguments: object) -> ToolCall:
        """Ask for a tool to be called."""
        return ToolCall(call_id=self.call_id, tool=tool, arguments=msgspec.json.encode(arguments).decode())


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something the model obeys; `obey` answers a text, a call, or nothing if the argument is malformed."""

    usage: str
    obey: Callable[[Turn], str | ToolCall | Sequence[ToolCall] | None]
    #: it tells by itself what went wrong in a call
    reads_errors: bool = False


class OfflineModel:
    """The built-in model."""

    @property
    def name(self) -> str:
        """What usage is counted under."""
        return "offline"

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Yield the answer in a few deltas, then whole."""
        reply: str | ToolCall | Sequence[ToolCall]
        if prompt.summary_bytes:
            reply = digest(prompt)
        elif prompt.instructions == distillation.INSTRUCTIONS:
            reply = distillation.lines(prompt.bodies[-1].text)
        else:
            reply = _reply(prompt.bodies)
        text = reply if isinstance(reply, str) else ""
        calls = () if isinstance(reply, str) else (reply,) if isinstance(reply, ToolCall) else reply
        size = max(1, -(-len(text) // PIECES))
        for start in range(0, len(text), size):
            yield Delta(text=text[start : start + size])
        yield Answer(text=text, calls=calls, usage=_usage(prompt, text, calls))


def offline_tools() -> list[Tool]:
    """Return the tools that exist with the offline model alone: ``emit`` and ``wait``."""
    return [
        Tool(
            spec=spec("emit", "Answer text of this many bytes.", _Emit),
            run=decoded(_Emit, _emit),
            is_idempotent=True,
            reach=Reach.READ,
        ),
        Tool(
            spec=spec("wait", "Wait for this many seconds.", _Wait),
            run=decoded(_Wait, _wait),
            is_idempotent=True,
            reach=Reach.READ,
            deadline_s=MAX_WAIT_S + 60,
        ),
    ]


def _reply(bodies: Sequence[Body]) -> str | ToolCall | Sequence[ToolCall]:
    turn = _turn(bodies)
    command = COMMANDS.get(turn.command)
    if turn.result is not None and turn.result.is_error and not (command and command.reads_errors):
        return turn.result.text
    if command is None:
        return _introduce(turn.message)
    reply = command.obey(turn)
    return f"Usage: {command.usage}" if reply is None else reply


def _turn(bodies: Sequence[Body]) -> Turn:
    start = max((at for at, body in enumerate(bodies) if isinstance(body, User)), default=-1)
    user = bodies[start] if start >= 0 else User()
    match = _COMMAND.fullmatch(user.text)
    return Turn(
        message=user.text,
        command=match[1] if match else "",
        argument=(match[2] or "") if match else "",
        results={body.call_id: body for body in bodies[start + 1 :] if isinstance(body, Result)},
        # compaction shortens a transcript, so that its length alone could name two calls alike
        call_id=f"offline-{user.at}-{len(bodies)}",
    )


def _introduce(message: str) -> str:
    quote = message if len(message) <= QUOTE_CHARS else f"{message[:QUOTE_CHARS]}…"
    return (
        f"I am the built-in offline model, not an LLM, so I cannot answer “{quote}”.\n"
        f"I obey {', '.join(command.usage for command in COMMANDS.values())}.\n"
        "To add a real model, set provider, name, base_url and api_key_env under [model] in tidegate.toml."
    )


def _echo(turn: Turn) -> str | None:
    return turn.argument or None


def _big(turn: Turn) -> str | ToolCall | None:
    if turn.result is not None:
        return f"{text_bytes(turn.result)} bytes"
    argument = turn.argument.strip()
    return turn.call("emit", bytes=int(argument)) if re.fullmatch(r"[0-9]{1,15}", argument) else None


def _sleep(turn: Turn) -> str | ToolCall | None:
    argument = turn.argument.strip()
    if turn.result is not None:
        return f"slept {argument}"
    is_number = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", argument)
    return turn.call("wait", seconds=float(argument)) if is_number else None


def _run(turn: Turn) -> str | ToolCall | None:
    if turn.result is not None:
        return turn.result.text
    try:
        argv = shlex.split(turn.argument)
    except ValueError:  # a quotation without an end
        return None
    return turn.call("shell", argv=argv) if argv else None


def _read(turn: Turn) -> str | ToolCall | None:
    if turn.result is not None:
        return turn.result.text
    path = turn.argument.strip()
    return turn.call("read_file", path=path) if path else None


def _write(turn: Turn) -> str | ToolCall | None:
    path, blank, text = turn.argument.partition(" ")
    if turn.result is not None:
        return f"wrote {path}"
    return turn.call("write_file", path=path, text=text) if path and blank else None


def _skill(turn: Turn) -> str | ToolCall | None:
    argument = turn.argument.strip()
    if turn.result is not None:
        heading = _HEADING.search(turn.result.text)
        return heading[1].rstrip("#").rstrip() if heading else f"the skill {argument} has no heading"
    return turn.call("skill", name=argument) if argument else None


def _remember(turn: Turn) -> str | ToolCall | None:
    if turn.result is not None:
        return "remembered"
    return turn.call("remember", text=turn.argument.strip()) if turn.argument.strip() else None


def _recall(turn: Turn) -> str | ToolCall | None:
    if turn.result is None:
        return turn.call("recall", query=turn.argument.strip()) if turn.argument.strip() else None
    found = msgspec.json.decode(turn.result.text, type=_Recalled).facts
    return "\n".join(" ".join(fact.text.split()) for fact in found) or "nothing found"


def _forget(turn: Turn) -> str | ToolCall | None:
    if turn.result is not None:
        return "forgotten"
    return turn.call("forget", id=turn.argument.strip()) if turn.argument.strip() else None


def _spawn(turn: Turn) -> str | Sequence[ToolCall] | None:
    match = re.fullmatch(r"\s*([1-9][0-9]{0,2})\s+(\S.*)", turn.argument, re.DOTALL)
    if not turn.results and match:
        calls = [turn.call("spawn_agent", task=match[2], label=f"{at}") for at in range(1, int(match[1]) + 1)]
        return [
            msgspec.structs.replace(call, call_id=f"{call.call_id}-{at}") for at, call in enumerate(calls, 1)
        ]
    by_label = {call_id.rpartition("-")[2]: result for call_id, result in turn.results.items()}
    lines = (_told(label, by_label[label]) for label in sorted(by_label, key=int))
    return "\n".join(lines) or None


def _told(label: str, result: Result) -> str:
    """Return what became of a sub-agent, in one line: its result, or what went wrong in brackets."""
    what, _, reason = result.text.partition(": ")
    return f"{label}: {what} ({reason})" if result.is_error else f"{label}: {result.text}"


#: what the model obeys, by the word after the slash
COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "echo": Command(usage="/echo TEXT", obey=_echo),
        "big": Command(usage="/big BYTES", obey=_big),
        "sleep": Command(usage="/sleep SECONDS", obey=_sleep),
        "read": Command(usage="/read PATH", obey=_read),
        "write": Command(usage="/write PATH TEXT", obey=_write),
        "run": Command(usage="/run ARGV", obey=_run),
        "skill": Command(usage="/skill NAME", obey=_skill),
        "remember": Command(usage="/remember TEXT", obey=_remember),
        "recall": Command(usage="/recall TEXT", obey=_recall),
        "forget": Command(usage="/forget ID", obey=_forget),
        "spawn": Command(usage="/spawn N TASK", obey=_spawn, reads_errors=True),
    }
)


def _usage(prompt: Prompt, text: str, calls: Sequence[ToolCall]) -> Usage:
    read = len(prompt.instructions) + len(prompt.reminder) + sum(len(body.text) for body in prompt.bodies)
    written = len(text) + sum(len(call.arguments) for call in calls)
    return Usage(input_tokens=read // CHARS_PER_TOKEN, output_tokens=written // CHARS_PER_TOKEN)


class _RecalledFact(msgspec.Struct):
    text: str


class _Recalled(msgspec.Struct):
    facts: list[_RecalledFact]


class _Emit(msgspec.Struct, forbid_unknown_fields=True):
    bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_RESULT_BYTES)]


class _Wait(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_S)]


async def _emit(emit: _Emit, _: Caller) -> str:
    lines, rest = divmod(emit.bytes, len(_ALPHABET))
    return _ALPHABET * lines + _ALPHABET[:rest]


async def _wait(wait: _Wait, _: Caller) -> str:
    await asyncio.sleep(wait.seconds)
    return f"waited {wait.seconds:g} s"
