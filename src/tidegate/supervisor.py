"""What starts and watches the process: systemd is told when it is ready, stops, and is alive.

Without ``NOTIFY_SOCKET`` nobody is told anything. A message that cannot be sent is dropped: that nobody listens is no
reason to fail.

Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


class Supervisor:
    """The one that the environment names."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        named = environment.get("NOTIFY_SOCKET", "")
        #: the address of its socket; one that begins with ``@`` has no file
        self._address = f"\0{named[1:]}" if named.startswith("@") else named
        self.patience_s = _patience_s(environment)

    def tell(self, *states: str) -> None:
        """Tell it how the process is."""
        if self._address.startswith(("/", "\0")):
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(0)
                channel.sendto("\n".join(states).encode(), self._address)


def _patience_s(environment: Mapping[str, str]) -> float | None:
    """Return how long it waits for a sign of life before it ends the process; None where it does not."""
    limit, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    is_ours = pid in {"", str(os.getpid())}
    return int(limit) / 1_000_000 if is_ours and limit.isdecimal() and int(limit) else None
