"""How the system is told to run the gateway: a systemd user unit, or a launchd agent on macOS.

Neither holds a secret. Only what a user's own manager can enforce is asked of it: what drops capabilities (such as
``PrivateDevices``) fails there, and what mounts needs ``PrivateUsers``.

Source: https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#Sandboxing
"""

import plistlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

MARK = "# Written by `tidegate service install`."
WATCHDOG_S = 30
START_S = 300  # to be ready: a migration of a large store takes a while


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run, and within which bounds."""

    name: str
    python: Path
    state: Path
    config: Path | None
    #: where keys for models can be put, one ``NAME=value`` a line; it need not exist
    environment: Path
    #: where else agents write
    writable: Sequence[Path]
    stop_s: int
    max_bytes: int
    is_sandboxed: bool

    @property
    def folders(self) -> Sequence[Path]:
        """Every folder that it writes to."""
        return [self.state, *self.writable]

    @property
    def command(self) -> list[str]:
        """The command line of the gateway."""
        config = ["--config", str(self.config)] if self.config else []
        return [str(self.python), "-P", "-m", "tidegate", "up", "--state", str(self.state), *config]


def unit(plan: Plan) -> str:
    """Return the text of a systemd user unit."""
    lines = (
        MARK,
        "[Unit]",
        "Description=Tidegate, an AI agent gateway",
        "StartLimitIntervalSec=5min",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(map(quoted, plan.command))}",
        f"EnvironmentFile=-{_percent(str(plan.environment))}",
        "Restart=on-failure",
        "RestartSec=2",
        # the folder is held, the configuration is wrong: starting again would not help
        "RestartPreventExitStatus=75 78",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutStartSec={START_S}",
        f"TimeoutStopSec={plan.stop_s}",
        f"MemoryHigh={plan.max_bytes * 3 // 4}",
        f"MemoryMax={plan.max_bytes}",
        *_hardening(plan),
        "",
        "[Install]",
        "WantedBy=default.target",
    )
    return "\n".join(lines) + "\n"


def plist(plan: Plan, log: Path) -> str:
    """Return the text of a launchd agent."""
    agent = {
        "Label": plan.name,
        "ProgramArguments": plan.command,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": plan.stop_s,
        "Umask": 0o077,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(log),
    }
    text = plistlib.dumps(agent).decode()
    return text.replace("<plist ", f"<!-- {MARK.removeprefix('# ')} -->\n<plist ", 1)


def quoted(text: str) -> str:
    """Return a text as one word of a unit file, whatever it holds."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("$", "$$")
    return f'"{_percent(escaped)}"'


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _hardening(plan: Plan) -> Iterator[str]:
    yield from (
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
    )
    if not plan.is_sandboxed:
        return
    folders = plan.folders
    yield from (
        "PrivateUsers=yes",
        "ProtectSystem=strict",
        f"ReadWritePaths={' '.join(_path(folder) for folder in folders)}",
        "ProtectControlGroups=yes",
        "ProtectKernelTunables=yes",
    )
    if not any(folder.is_relative_to(shared) for folder in folders for shared in ("/tmp", "/var/tmp")):  # noqa: S108
        yield "PrivateTmp=yes"


def _path(folder: Path) -> str:
    """Return a path of a list; no variables are replaced in it."""
    return quoted(str(folder)).replace("$$", "$")
