"""``tidegate completion``: what a shell needs to complete commands, options, and names in the running gateway.

The script is click's own. Asked by a shell, the command line answers in silence: without a gateway, with none that
answers at once, or with one that refuses, there are no names.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tidegate.cli.answer import Json
from tidegate.errors import TidegateError

VARIABLE = "_TIDEGATE_COMPLETE"
TIMEOUT_S = 0.5


class Bash(BashComplete):
    """Completion for Bash, which takes ``:`` and ``=`` in a session's key for the ends of words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete, and that one, with keys put together again."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in [*args, incomplete]:
            if words and (_is_break(word) or _is_break(words[-1][-1:])):
                words[-1] += word
            else:
                words.append(word)
        self._behind = _breaks(words[-1])
        return words[:-1], words[-1]

    def complete(self) -> str:
        """Return the completions, each less what Bash takes for words before it."""
        lines = super().complete().splitlines()
        return "\n".join(line.replace(f"plain,{self._behind}", "plain,", 1) for line in lines)


SHELLS: Mapping[str, type[ShellComplete]] = MappingProxyType(
    {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}
)


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the script that teaches a shell to complete.

    In ~/.bashrc: eval "$(tidegate completion bash)"

    In ~/.zshrc, behind compinit: eval "$(tidegate completion zsh)"

    For fish: tidegate completion fish > ~/.config/fish/completions/tidegate.fish
    """
    root = click.get_current_context().find_root()
    click.echo(SHELLS[shell](root.command, {}, "tidegate", VARIABLE).source())


def answer(root: click.Command, instruction: str) -> int:
    """Answer a shell's question, which is in the environment; return the exit code."""
    name, _, what = instruction.partition("_")
    if name not in SHELLS or what not in {"source", "complete"}:
        return 2
    shell = SHELLS[name](root, {}, "tidegate", VARIABLE)
    click.echo(shell.source() if what == "source" else shell.complete())
    return 0


def session_keys(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return keys of sessions that begin like this, the newest first."""
    return _names(ctx, _List("/api/sessions", "sessions", "key", {"q": incomplete or None}), incomplete)


def approval_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of calls that wait for a decision."""
    return _names(ctx, _List("/api/approvals", "approvals", "id", {"state": "pending"}), incomplete)


def job_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the jobs."""
    return _names(ctx, _List("/api/jobs", "jobs", "name", {}), incomplete)


def agent_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the agents."""
    return _names(ctx, _List("/v1/models", "data", "id", {}), incomplete)


class _List(NamedTuple):
    path: str
    name: str
    attribute: str
    query: Mapping[str, str | None]


def _names(ctx: click.Context, asked: _List, incomplete: str) -> list[str]:
    from tidegate.cli.client import Client  # noqa: PLC0415 - names are asked for by shells alone

    state = cast("Path | None", ctx.params.get("state"))
    try:
        found = Client(state, TIMEOUT_S).get(asked.path, **asked.query)[asked.name]
    except TidegateError:
        return []
    names = (str(one[asked.attribute]) for one in cast("list[Json]", found))
    return [name for name in names if name.startswith(incomplete)]


def _is_break(word: str) -> bool:
    return bool(word) and set(word) <= {":", "="}


def _breaks(word: str) -> str:
    """Return the part of a word that Bash takes for words before it."""
    value = word.partition("=")[2] if word.startswith("-") else word
    return value[: max(value.rfind(":"), value.rfind("=")) + 1]
