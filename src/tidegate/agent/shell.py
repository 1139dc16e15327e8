"""The tool ``shell``: one program with its arguments, run in the workspace. It is off unless an agent names it.

No shell reads the arguments, so that nothing in them is expanded. The program gets an environment of a few plain
variables, limits of time, memory and output, and its whole process tree ends with the call. It runs as the user who
runs the gateway and is not confined to the workspace: whatever that user may do, it may do. A person allows each call.
"""

import os
import signal
from typing import Annotated

import msgspec

from tidegate.agent import child
from tidegate.agent.child import GRACE_S, LEAVE_S, Ended, Limits, Program
from tidegate.agent.place import Place
from tidegate.agent.tools import Caller, Tool, ToolFailed, decoded, spec
from tidegate.agent.turns import Turns

MAX_SECONDS = 600
MAX_ARGUMENTS = 1_000
MAX_ARGUMENT_CHARS = 100_000  # Linux takes 128 KiB in one
MAX_STDIN_CHARS = 1 << 20
#: what a program gets to see of the gateway's environment; everything else, secrets above all, is kept from it
PASSED_ON = ("PATH", "TZ")
PATH = "/usr/local/bin:/usr/bin:/bin"


class Shell(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of the tool."""

    argv: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=MAX_ARGUMENT_CHARS)]],
        msgspec.Meta(
            min_length=1,
            max_length=MAX_ARGUMENTS,
            description="The program and its arguments, one string each. No shell reads them.",
        ),
    ]
    cwd: Annotated[str, msgspec.Meta(description="The folder in the workspace to run it in.")] = ""
    stdin: Annotated[str, msgspec.Meta(max_length=MAX_STDIN_CHARS, description="What the program reads.")] = (
        ""
    )
    timeout_s: Annotated[
        int, msgspec.Meta(ge=1, le=MAX_SECONDS, description="When to end it, in seconds.")
    ] = 60


def shell_tool(place: Place, turns: Turns) -> Tool:
    """Return the tool for one workspace."""

    async def run(shell: Shell, _: Caller) -> str:
        if any("\0" in argument for argument in shell.argv) or not shell.argv[0]:
            raise ToolFailed("an argument may not hold NUL, and the program has a name")
        async with turns.turn():
            with place.folder(place.parts(shell.cwd)) as folder:
                ended = await child.run(_program(shell, place, folder), Limits(seconds=shell.timeout_s))
        return _told(shell, ended)

    return Tool(
        spec=spec("shell", "Run a program in the workspace. A person has to allow it.", Shell),
        run=decoded(Shell, run),
        asks=True,
        deadline_s=MAX_SECONDS + GRACE_S + LEAVE_S + 5,
    )


def _program(shell: Shell, place: Place, folder: int) -> Program:
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    made = {"HOME": str(place.root), "LANG": "C.UTF-8", "TERM": "dumb"}
    return Program(
        argv=[argument.encode(errors="replace").decode() for argument in shell.argv],
        folder=folder,
        environment={"PATH": PATH, **passed_on, **made},
        stdin=shell.stdin.encode(errors="replace"),
    )


def _told(shell: Shell, ended: Ended) -> str:
    """Return what the model reads: how it ended in one line, then what it wrote."""
    if ended.error and not ended.timed_out:
        raise ToolFailed(f"{shell.argv[0]!r} was not run to its end: {ended.error}")
    if ended.timed_out:
        how = f"ended after {shell.timeout_s} s, which is its timeout_s"
    elif ended.signal is not None:
        how = f"ended by signal {ended.signal} ({_signal_name(ended.signal)})"
    else:
        how = f"exit code {ended.code}"
    gap = f"\n[… {ended.dropped} bytes left out …]\n".encode() if ended.dropped else b""
    return f"{how}\n{(ended.head + gap + ended.tail).decode(errors='replace')}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
