"""How many hooks a piece of work has come through: what ends a chain of webhooks that lead into hooks of one's own.

What is sent says of how many it is the next one (`HEADER`); a call that says more than `MAX_HOPS` is refused, and not
sent again. What a call has started is remembered by its session, or its run where it goes to a chat, as long as there
is room, and no longer than the process: a chain that meets a restart is counted from there anew.
"""

from collections import OrderedDict

import msgspec

from tidegate.bounded import OLDEST_GOES, Registry
from tidegate.domain.run import Run
from tidegate.domain.session import Session

HEADER = "tidegate-hops"
MAX_HOPS = 8
MAX_REMEMBERED = 4_096


class _Data(msgspec.Struct, frozen=True):
    session: str | None = None
    run: str | None = None
    parent: str | None = None


class _Sent(msgspec.Struct, frozen=True):
    data: _Data = _Data()


class Hops:
    """The hops of what hooks have started lately."""

    def __init__(self, registry: Registry) -> None:
        self._hops: OrderedDict[str, int] = OrderedDict()
        self._decoder = msgspec.json.Decoder(_Sent)
        registry.add("hook_hops", lambda: len(self._hops), MAX_REMEMBERED, when_full=OLDEST_GOES)

    def note(self, run: Run, session: Session, hops: int) -> None:
        """Remember through how many hooks a run has come."""
        self._hops[run.id if session.policy.is_conversation else session.id] = hops
        while len(self._hops) > MAX_REMEMBERED:
            self._hops.popitem(last=False)

    def after(self, body: bytes) -> int:
        """Return of how many hooks what is sent is the next one."""
        try:
            about = self._decoder.decode(body).data
        except msgspec.DecodeError:  # not of a session: an alert, or the answer of a job
            return 1
        return 1 + max(self._hops.get(name or "", 0) for name in (about.run, about.session, about.parent))


def read(text: str) -> int:
    """Return what a header says; what is no small number is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
