"""``tidegate service``: the gateway as a service of the user who is logged in, kept running by the system."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tidegate.cli.client import Client
from tidegate.cli.file import FileExists, make_folder, refuse_to_replace, replacing
from tidegate.cli.keeper import Keeper, call, keeper, succeeds
from tidegate.cli.options import config_option, json_option, state_option
from tidegate.cli.unit import MARK, Plan
from tidegate.config import Config, find, places, read, state_folder
from tidegate.errors import NotFound, TidegateError, Unavailable
from tidegate.folder import TOKEN_VARIABLE
from tidegate.units import size_bytes

MARGIN_S = 20  # to close the store, beyond what open runs get

name_option = click.option(
    "--name", default="tidegate", show_default=True, help="Its name, where there is more than one gateway."
)


def _size(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return size_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def service() -> None:
    """Let the system keep the gateway running."""


@service.command()
@name_option
@click.option("--memory", default="1GB", show_default=True, callback=_size, help="The most it may take.")
@click.option("--no-sandbox", is_flag=True, help="For systems without user namespaces.")
@click.option("--now", is_flag=True, help="Also start it, now and at each login.")
@click.option("--force", is_flag=True, help="Replace a service of this name.")
@click.option("--dry-run", is_flag=True, help="Only print what would be written.")
@config_option
@state_option
@json_option
def install(name: str, memory: int, config: Path | None, state: Path | None, **flags: bool) -> None:
    """Describe the gateway to systemd, or to launchd on macOS, as a service of this user."""
    kept, folder = keeper(name), state_folder(state)
    found = find(config, folder)
    settings = read(found)
    plan = Plan(
        name=name,
        python=Path(sys.executable),
        state=folder,
        config=found if found and found.parent != folder else None,
        environment=places(folder)[1].with_name(f"{name}.env"),
        writable=_written(settings, folder),
        stop_s=settings.gateway.drain_ms // 1_000 + MARGIN_S,
        max_bytes=memory,
        is_sandboxed=not flags["no_sandbox"],
    )
    text = kept.text(plan)
    if flags["dry_run"]:
        told = json.dumps({"path": str(kept.file), "text": text}) + "\n"
        click.echo(told if flags["as_json"] else text, nl=False)
        return
    if not kept.is_there:
        raise Unavailable(
            f"{kept.probe[0]} is not there or does not answer this user, so nothing was written",
            hint="`tidegate service install --dry-run` prints what would be; `tidegate up` runs in the foreground",
        )
    _write(kept.file, text, force=flags["force"])
    for written in plan.folders:
        make_folder(written)  # what does not exist cannot be made writable for the service
    _tell(kept, now=flags["now"])
    if flags["as_json"]:
        done = {
            "path": str(kept.file),
            "is_started": flags["now"],
            "writes": [str(written) for written in plan.folders],
        }
        click.echo(json.dumps(done))
        return
    click.echo(f"wrote {kept.file}")
    for written in plan.folders:
        click.echo(f"it writes to {written}")
    for line in (*_steps(kept, now=flags["now"]), *_notes(settings, plan)):
        click.echo(line)


@service.command()
@name_option
@state_option
@json_option
def status(name: str, state: Path | None, *, as_json: bool) -> None:
    """Show whether the service is there, runs and answers; exit 1 if it does not run."""
    kept = keeper(name)
    is_installed, is_running = os.path.lexists(kept.file), kept.is_there and succeeds(kept.look)
    try:
        url: str | None = str(Client(state).get("/api/status")["url"])
    except TidegateError:
        url = None
    if as_json:
        told = {"path": str(kept.file), "is_installed": is_installed, "is_running": is_running, "url": url}
        click.echo(json.dumps(told))
    else:
        click.echo(f"service  {kept.file if is_installed else 'not installed: `tidegate service install`'}")
        click.echo(f"running  {_running(kept, is_running=is_running)}")
        click.echo(f"answers  {url or 'no gateway on this state folder'}")
        click.echo(f"log      {kept.logs}")
    if not is_running:
        raise click.exceptions.Exit(1)


@service.command()
@name_option
@json_option
def remove(name: str, *, as_json: bool) -> None:
    """Stop the service and take its description away; what the gateway has stored stays."""
    kept = keeper(name)
    if not os.path.lexists(kept.file):
        raise NotFound(f"there is no service {name!r}: {kept.file}")
    if not _is_ours(kept.file):
        raise FileExists(f"{kept.file} was not written by this command", hint="remove it yourself")
    is_there = kept.is_there
    if is_there and succeeds(kept.look):
        call(kept.stop)
    elif is_there:
        succeeds(kept.stop)  # not running, but perhaps to be started at the next login
    kept.file.unlink()
    if is_there and kept.reload:
        call(kept.reload)
    click.echo(json.dumps({"path": str(kept.file)}) if as_json else f"removed {kept.file}")
    if not is_there and not as_json:
        click.echo(f"{kept.stop[0]} was not reachable; a gateway that runs goes on until it is stopped")


def _write(file: Path, text: str, *, force: bool) -> None:
    if not (os.path.lexists(file) and _is_ours(file) and file.read_text() == text):
        refuse_to_replace(file, force=force)
    make_folder(file.parent)
    with replacing(file) as written:
        written.write(text)


def _is_ours(file: Path) -> bool:
    try:
        return MARK.removeprefix("# ") in file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _written(settings: Config, state: Path) -> Sequence[Path]:
    """Return the folders outside the state folder that the gateway writes to: workspaces, backups."""
    named = [agent.workspace for agent in settings.agents.values()]
    if settings.backup.enabled:
        named.append(settings.backup.folder)
    folders = dict.fromkeys(folder for folder in named if folder is not None)
    return [folder for folder in folders if not folder.is_relative_to(state)]


def _tell(kept: Keeper, *, now: bool) -> None:
    """Let the system know."""
    if kept.reload:
        call(kept.reload)
    if now:
        call(kept.start)


def _running(kept: Keeper, *, is_running: bool) -> str:
    if is_running:
        return "yes"
    return "no" if kept.is_there else f"unknown: {kept.probe[0]} is not there or does not answer this user"


def _steps(kept: Keeper, *, now: bool) -> Iterator[str]:
    """Yield what is left to do."""
    yield f"started; its log: {kept.logs}" if now else f"next: {shlex.join(kept.start)}"


def _notes(settings: Config, plan: Plan) -> Iterator[str]:
    """Yield what a service does not have of the shell that describes it."""
    is_systemd = sys.platform == "linux"
    remedy = (
        f"write {{}}=… into {plan.environment}, mode 0600" if is_systemd else "name a file for it instead"
    )
    variables = [settings.model.api_key_env, TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE) else ""]
    for name in filter(None, variables):
        yield f"note: the service does not see {name}; {remedy.format(name)}"
    if is_systemd:
        yield "note: to keep it running while you are not logged in: loginctl enable-linger"
