"""What keeps services running on this machine, systemd or launchd, as far as it can be asked.

A command of it is called only where it is there and a user's own instance answers; otherwise a person is told which
commands to call.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from tidegate.cli.unit import Plan, plist, unit
from tidegate.errors import Unavailable

ANSWER_S = 120

Argv = Sequence[str]


class Keeper(NamedTuple):
    """One of the two, for the service of one name."""

    file: Path
    text: Callable[[Plan], str]
    #: succeeds where there is somebody to tell
    probe: Argv
    reload: Argv | None
    start: Argv
    stop: Argv
    #: succeeds where the service runs
    look: Argv
    logs: str

    @property
    def is_there(self) -> bool:
        """Whether its commands can be called here."""
        return shutil.which(self.probe[0]) is not None and succeeds(self.probe)


def keeper(name: str) -> Keeper:
    """Return what keeps services here.

    Raises:
        Unavailable: It is neither systemd nor launchd.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise click.UsageError(f"--name {name!r}: use letters, digits, '.', '_' and '-'")
    if sys.platform == "darwin":
        return _launchd(name)
    if sys.platform == "linux":
        return _systemd(name)
    raise Unavailable(f"there is no known way to keep a service on {sys.platform}", hint="use `tidegate up`")


def succeeds(argv: Argv) -> bool:
    """Call a command in silence and return whether it went well."""
    done = subprocess.run(argv, capture_output=True, timeout=ANSWER_S, check=False)  # noqa: S603 - our own words
    return done.returncode == 0


def call(argv: Argv) -> None:
    """Call a command.

    Raises:
        Unavailable: It failed; its own words say why.
    """
    done = subprocess.run(argv, capture_output=True, timeout=ANSWER_S, check=False)  # noqa: S603 - our own words
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise Unavailable(f"`{' '.join(argv)}` failed: {said}")


def _systemd(name: str) -> Keeper:
    def systemctl(*words: str) -> Argv:
        return ["systemctl", "--user", *words]

    return Keeper(
        file=_folder("XDG_CONFIG_HOME", ".config") / "systemd/user" / f"{name}.service",
        text=unit,
        probe=systemctl("show-environment"),
        reload=systemctl("daemon-reload"),
        start=systemctl("enable", "--now", name),
        stop=systemctl("disable", "--now", name),
        look=systemctl("is-active", "--quiet", name),
        logs=f"journalctl --user -u {name}",
    )


def _launchd(name: str) -> Keeper:
    home, domain = Path.home(), f"gui/{os.getuid()}"
    file, log = home / "Library/LaunchAgents" / f"{name}.plist", home / "Library/Logs" / f"{name}.log"
    return Keeper(
        file=file,
        text=lambda plan: plist(plan, log),
        probe=["launchctl", "print", domain],
        reload=None,
        start=["launchctl", "bootstrap", domain, str(file)],
        stop=["launchctl", "bootout", f"{domain}/{name}"],
        look=["launchctl", "print", f"{domain}/{name}"],
        logs=f"less {log}",
    )


def _folder(variable: str, below_home: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    return named if named.is_absolute() else Path.home() / below_home
