"""``tidegate doctor``: is what must always be true, true; and with ``--fix``, made true again where that is safe."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from tidegate.cli.options import config_option, json_option, state_option
from tidegate.cli.text import plain
from tidegate.errors import FolderHeld, TidegateError

if TYPE_CHECKING:
    from tidegate.store.doctor import Finding, Living
    from tidegate.store.fix import Fixed

_MARKS = {"ok": "ok  ", "violated": "FAIL", "not checked": "-   "}


@click.command()
@click.option("--scrub", is_flag=True, help="Also read everything and compare it with its checksums.")
@click.option(
    "--fix", is_flag=True, help="Repair what is safe, then look at everything; needs a stopped gateway."
)
@state_option
@config_option
@json_option
def doctor(*, scrub: bool, fix: bool, state: Path | None, config: Path | None, as_json: bool) -> None:
    """Check the store from outside, gateway running or not; exit 1 if something is wrong.

    --fix takes a backup first, and writes down what it removes; what is damaged it leaves where it is.
    """
    from tidegate.clock import SystemClock  # noqa: PLC0415 - `tidegate --help` must not pay for the store
    from tidegate.config import state_folder  # noqa: PLC0415
    from tidegate.store.doctor import VIOLATED, examine  # noqa: PLC0415

    folder = state_folder(state)
    fixed = _fix(folder, config) if fix else None
    if fixed and not as_json:
        _tell(fixed)
    findings: list[Finding] = []
    for finding in examine(folder, _living(folder), SystemClock().now(), scrub=scrub or fix):
        findings.append(finding)
        if not as_json:
            print(
                plain(f"{_MARKS[finding.verdict]} {finding.name:8} {finding.promise}{_detail(finding)}"),
                flush=True,
            )
    if as_json:
        print(
            json.dumps({**_as_json(fixed), "checks": [finding._asdict() for finding in findings]}, indent=2)
        )
    if any(finding.verdict == VIOLATED for finding in findings):
        if fix:
            print(
                "what is left is not for --fix: a started gateway moves what is due, a backup has what is damaged:"
                " `tidegate restore FILE`",
                file=sys.stderr,
            )
        sys.exit(1)


def _fix(folder: Path, config: Path | None) -> "Fixed":
    """Repair what is safe, with the policies of the configuration that the gateway would read."""
    from tidegate import config as configuration  # noqa: PLC0415
    from tidegate.clock import SystemClock  # noqa: PLC0415
    from tidegate.domain.policy import policies  # noqa: PLC0415
    from tidegate.errors import NotFound  # noqa: PLC0415
    from tidegate.store import lock  # noqa: PLC0415
    from tidegate.store.fix import fix  # noqa: PLC0415

    settings = configuration.read(configuration.find(config, folder))
    if not folder.is_dir():
        raise NotFound(f"there is no store in {str(folder)!r}", hint="name the state folder with --state")
    try:
        held = lock.hold(folder)
    except FolderHeld as error:
        raise FolderHeld(error.message, hint="stop the gateway first; without --fix it may go on") from error
    try:
        return fix(
            folder, policies(settings.lifecycle, settings.approvals.expire_after_ms), SystemClock().now()
        )
    finally:
        held.release()


def _tell(fixed: "Fixed") -> None:
    for line in _lines(fixed):
        print(plain(line))


def _lines(fixed: "Fixed") -> Iterator[str]:
    if not fixed.repairs:
        yield "nothing to repair"
    if fixed.backup:
        yield f"as it was: {fixed.backup}"
    yield from (f"fixed {repair.name}: {repair.detail}" for repair in fixed.repairs)
    if fixed.archive:
        yield f"removed rows are kept in {fixed.archive}"


def _as_json(fixed: "Fixed | None") -> dict[str, object]:
    if fixed is None:
        return {}
    return {
        "backup": str(fixed.backup) if fixed.backup else None,
        "archive": str(fixed.archive) if fixed.archive else None,
        "repairs": [repair._asdict() for repair in fixed.repairs],
    }


def _detail(finding: "Finding") -> str:
    return f": {finding.detail}" if finding.detail else ""


def _living(folder: Path) -> "Living | None":
    """Ask the running gateway what only it can say; without an answer that stays unchecked."""
    from tidegate.cli.client import Client  # noqa: PLC0415
    from tidegate.cli.status import put_aside  # noqa: PLC0415
    from tidegate.store.doctor import Living  # noqa: PLC0415

    try:
        status = cast("dict[str, Any]", Client(folder).get("/api/status"))
    except TidegateError:
        return None
    containers = {name: (gauge["entries"], gauge["limit"]) for name, gauge in status["containers"].items()}
    told = {part: f"{part}: {put_aside(one)}" for part, one in status["faults"].items() if one["count"]}
    stuck = [part for part, one in status["faults"].items() if one["stuck"]]
    is_fair = status["pressure"]["people_first"]
    return Living(containers, status["shares_reads"], status["holds_deletes"], is_fair, told, stuck)
