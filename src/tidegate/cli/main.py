"""The command line as a whole: which commands there are, and how an error looks.

A command's module is imported when the command is called: ``--help`` stays fast however much the commands need.
"""

import errno
import gc
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

import click

from tidegate import __version__, stdio
from tidegate.errors import StorageFailed, TidegateError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

INTERRUPTED = 130


class Place(NamedTuple):
    """Where a command is, and what it does in one line."""

    module: str
    attribute: str
    summary: str


COMMANDS: Mapping[str, Place] = MappingProxyType(
    {
        "up": Place("tidegate.cli.up", "up", "Start the gateway."),
        "stop": Place("tidegate.cli.stop", "stop", "Stop the gateway; nothing is lost."),
        "status": Place("tidegate.cli.status", "status", "Show how the gateway is."),
        "logs": Place("tidegate.cli.logs", "logs", "Show the latest events of its log."),
        "token": Place("tidegate.cli.token", "token", "Print the token."),
        "chat": Place("tidegate.cli.chat", "chat", "Talk to an agent."),
        "approvals": Place("tidegate.cli.approvals", "approvals", "Decide on calls that wait for a person."),
        "jobs": Place("tidegate.cli.jobs", "jobs", "Make agents work by the clock."),
        "sessions": Place("tidegate.cli.sessions", "sessions", "List, show, keep and delete sessions."),
        "skills": Place("tidegate.cli.skills", "skills", "List, show and check skills."),
        "memory": Place("tidegate.cli.memory", "memory", "Search, list and correct what agents remember."),
        "sweep": Place("tidegate.cli.sweep", "sweep", "Carry out now what is due."),
        "config": Place("tidegate.cli.config", "config", "Show, check or write the configuration."),
        "doctor": Place("tidegate.cli.doctor", "doctor", "Check that what is stored is sound."),
        "growth": Place("tidegate.cli.growth", "growth", "Show how the gateway grows."),
        "forecast": Place("tidegate.cli.forecast", "forecast", "Foretell sessions, disk and memory."),
        "soak": Place("tidegate.cli.soak", "soak", "Run months of sessions in minutes; is it flat?"),
        "backup": Place("tidegate.cli.backup", "backup", "Copy the store into a file, verified."),
        "restore": Place("tidegate.cli.restore", "restore", "Bring a backup back."),
        "service": Place("tidegate.cli.service", "service", "Let the system keep the gateway running."),
        "completion": Place("tidegate.cli.completion", "completion", "Print the completion for a shell."),
        "help": Place("tidegate.cli.help", "help_", "Show what there is, or how a command is used."),
    }
)

#: what people type who mean something else; no word that is close to a command that replaces or deletes
MEANT: Mapping[str, str] = MappingProxyType(
    {
        "agent": "there is `tidegate chat --agent NAME`",
        "agents": "they stand in the configuration: `tidegate config show`",
        "cron": "did you mean 'jobs'?",
        "gateway": "there is `tidegate up`, `tidegate stop` and `tidegate status`",
        "health": "did you mean 'doctor'?",
        "init": "did you mean 'config init'?",
        "kill": "did you mean 'stop'?",
        "ls": "did you mean 'sessions list'?",
        "quit": "did you mean 'stop'?",
        "reload": "did you mean 'config reload'?",
        "restart": "`tidegate stop`, then `tidegate up`; as a service, its keeper starts it again",
        "run": "did you mean 'up'?",
        "serve": "did you mean 'up'?",
        "setup": "did you mean 'config init'?",
        "start": "did you mean 'up'?",
        "version": "there is `tidegate --version`",
    }
)
ALIKE = 0.75  # below that a word is another word rather than a slip


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        place = COMMANDS.get(cmd_name)
        return cast("click.Command", getattr(import_module(place.module), place.attribute)) if place else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest one that is meant."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0][:80]!r}{_meant(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Return the commands that begin like this without importing them."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only shells ask for it

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=place.summary)
            for name, place in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; that nobody reads its output any more ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(INTERRUPTED) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])


def _meant(word: str) -> str:
    """Return what was probably meant, to be said after the error."""
    if word.lower() in MEANT:
        return f"; {MEANT[word.lower()]}"
    from difflib import get_close_matches  # noqa: PLC0415 - only a slip needs it

    close = get_close_matches(word.lower(), COMMANDS, 1, ALIKE)
    return f"; did you mean {close[0]!r}?" if close else ""


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
def cli() -> None:
    """An AI agent gateway whose memory and disk stay flat."""


def main() -> None:
    """Run the command line and exit with its code."""
    stdio.complete()
    code = run(sys.argv[1:])
    stdio.OUTPUT.end()
    gc.freeze()  # Python need not look for garbage at the end: with large libraries it takes a second, for nothing
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code; what went wrong is told on standard error."""
    question = os.environ.get("_TIDEGATE_COMPLETE")
    if question:
        from tidegate.cli.completion import answer  # noqa: PLC0415 - only shells ask

        return answer(cli, question)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show fails no command
    code = _code_of(list(args), as_json="--json" in args)
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output()
        if isinstance(error, BrokenPipeError):
            return INTERRUPTED
        _tell("output", _unwritten(error), "", as_json=False)
        return code or StorageFailed.exit_code
    return code


def _give_up_output() -> None:
    """See to it that what is left in the buffer does not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unwritten(error: OSError) -> str:
    return f"the output cannot be written: {error.strerror}"


def _code_of(args: list[str], *, as_json: bool) -> int:
    try:
        code = cli.main(args, prog_name="tidegate", standalone_mode=False, color=_color())
    except click.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _tell("usage", error.format_message(), _usage(error), as_json=as_json)
        return error.exit_code
    except TidegateError as error:
        _tell(error.code, error.message, error.hint, as_json=as_json)
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _give_up_output()
        _tell("output", _unwritten(error), "", as_json=as_json)
        return StorageFailed.exit_code
    return code if isinstance(code, int) else 0


def _color() -> bool | None:
    """Return False where colours are not wanted; see https://no-color.org."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _usage(error: click.ClickException) -> str:
    """Return where to read how the command is used."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path} --help" if context else ""


def _tell(code: str, message: str, hint: str, *, as_json: bool) -> None:
    if as_json:
        told = json.dumps({"error": {"code": code, "message": message, "hint": hint}})
    else:
        from tidegate.cli.text import plain  # noqa: PLC0415 - most commands end well

        told = plain(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
    with suppress(OSError):
        click.echo(told, err=True)
