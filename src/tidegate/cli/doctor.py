"""``tidegate doctor``: is what must always be true, true."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from tidegate.cli.options import json_option, state_option
from tidegate.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.store.doctor import Finding, Living

_MARKS = {"ok": "ok  ", "violated": "FAIL", "not checked": "-   "}


@click.command()
@click.option("--scrub", is_flag=True, help="Also read everything and compare it with its checksums.")
@state_option
@json_option
def doctor(*, scrub: bool, state: Path | None, as_json: bool) -> None:
    """Check the store from outside, gateway running or not; exit 1 if something is wrong."""
    from tidegate import config  # noqa: PLC0415 - `tidegate --help` must not pay for the store
    from tidegate.clock import SystemClock  # noqa: PLC0415
    from tidegate.store.doctor import VIOLATED, examine  # noqa: PLC0415

    folder = config.state_folder(state)
    findings: list[Finding] = []
    for finding in examine(folder, _living(folder), SystemClock().now(), scrub=scrub):
        findings.append(finding)
        if not as_json:
            print(
                f"{_MARKS[finding.verdict]} {finding.name:8} {finding.promise}{_detail(finding)}", flush=True
            )
    if as_json:
        print(json.dumps({"checks": [finding._asdict() for finding in findings]}, indent=2))
    if any(finding.verdict == VIOLATED for finding in findings):
        sys.exit(1)


def _detail(finding: "Finding") -> str:
    return f": {finding.detail}" if finding.detail else ""


def _living(folder: Path) -> "Living | None":
    """Ask the running gateway what only it can say; without an answer that stays unchecked."""
    from tidegate.cli.client import Client  # noqa: PLC0415
    from tidegate.store.doctor import Living  # noqa: PLC0415

    try:
        status = cast("dict[str, Any]", Client(folder).get("/api/status"))
    except TidegateError:
        return None
    containers = {name: (gauge["entries"], gauge["limit"]) for name, gauge in status["containers"].items()}
    return Living(containers, status["shares_reads"], status["holds_deletes"])
