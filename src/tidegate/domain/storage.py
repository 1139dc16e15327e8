"""How much of the disk the state may take, and what gives way when it is too much. Pure.

What is compared is *live* bytes: pages in use. Space that was freed is used again before the file grows, and is given
back to the disk later, so that the size of the file says nothing about how much there is to keep.
"""

from enum import Enum
from typing import NamedTuple

from tidegate.clock import SECOND_MS
from tidegate.domain.session import PolicyName

MB = 1 << 20
MOST_BYTES = 10 << 30
HIGH = 90  # per cent of the limit: from here on sessions go
LOW = 80  # down to here
LAST = 95  # from here on there is room for people alone
GRACE_MS = 5 * SECOND_MS  # what has just ended stays for as long: its answer is on its way
FLOOR_SHARE = 20  # of a small disk
FLOOR_BYTES = 64 * MB


class Group(Enum):
    """Finished sessions that give way together, in the order in which they do; a chat never does."""

    API = (PolicyName.API, None)
    HOOK = (PolicyName.HOOK, None)
    CRON_OK = (PolicyName.CRON, True)
    SUBAGENT = (PolicyName.SUBAGENT, None)
    CRON_FAILED = (PolicyName.CRON, False)

    def __init__(self, policy: PolicyName, is_ok: bool | None) -> None:  # noqa: FBT001 - a row of the table above
        #: the policy of its sessions
        self.policy = policy
        #: whether they have ended well; None is either way
        self.is_ok = is_ok

    @property
    def label(self) -> str:
        """Its name, as people see it."""
        return self.name.lower()


class Marks(NamedTuple):
    """Live bytes at which something changes."""

    limit: int
    #: from here on background work is refused, whatever could still go
    last: int
    #: from here on sessions go
    high: int
    #: down to here
    low: int


def marks(limit: int) -> Marks:
    """Return the marks of a limit."""
    return Marks(limit, *(limit * share // 100 for share in (LAST, HIGH, LOW)))


def usual_limit(free: int, own: int) -> int:
    """Return what the state may take where nobody has said: half of what there is for it, 10 GB at most."""
    return min(MOST_BYTES, (free + own) // 2)


def floor(disk: int) -> int:
    """Return how much of a disk of that size is left to people's messages, however small the state is."""
    return min(FLOOR_BYTES, disk // FLOOR_SHARE)
