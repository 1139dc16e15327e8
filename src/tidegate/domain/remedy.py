"""What each series is to a person, what bounds it, and the setting that would change it.

A setting is told as it stands in the configuration: ``[SECTION] key``; where there is none, the words say what takes it
away.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tidegate.clock import DAY_MS
from tidegate.domain.policy import Policy
from tidegate.domain.session import PolicyName, State
from tidegate.units import print_span

#: stand for the settings of the kind of sessions that grew most: how long it is kept, when it is compressed
KEPT, PACKED = "kept", "packed"

KIB = 1 << 10
MIB = 1 << 20


class Known(NamedTuple):
    """One series, or several that are told as one."""

    part: str
    label: str
    #: about how many bytes one of it is; of what is counted in bytes, one
    each: int
    #: what is less than this is not worth a word, in its own unit
    floor: int
    words: str
    setting: str = ""

    @property
    def is_bytes(self) -> bool:
        """Whether it is counted in bytes."""
        return self.each == 1


SESSION_BYTES = 1 * KIB  # about: a row with its indices

#: by the name of a series, or of a sum of series (`explanation.summed`)
KNOWN: Mapping[str, Known] = MappingProxyType(
    {
        "runs": Known("table", "runs", 600, 1, "they go with their sessions", KEPT),
        "receipts": Known("table", "receipts of requests with a key", 200, 1, "each goes after 24 h"),
        "job_spends": Known(
            "table", "what jobs cost, by day", 100, 1, "each goes after 7 d; 100,000 are kept at most"
        ),
        "approvals": Known(
            "table",
            "approvals",
            1 * KIB,
            1,
            "decided ones go after 30 d, unanswered ones end before",
            "[approvals] expire_after",
        ),
        "outbox": Known(
            "table",
            "deliveries in the outbox",
            2 * KIB,
            1,
            "one is tried for 3 d, and given up, kept for 7 d",
            "[webhooks.NAME] url",
        ),
        "facts": Known(
            "table",
            "facts that agents remember",
            1 * KIB,
            10,
            "the least valuable makes room for a new one; `tidegate memory forget` removes one",
            "[memory] max_facts",
        ),
        "jobs": Known("table", "jobs", 1 * KIB, 1, "`tidegate jobs list` shows them, `jobs rm` removes one"),
        "snapshots": Known(
            "table",
            "sets of skills",
            2 * KIB,
            1,
            "each goes with the last session that has it; a skill that changes makes a new one",
        ),
        "entries_bytes": Known(
            "table",
            "text of transcripts that are not compressed",
            1,
            256 * KIB,
            "archiving compresses it",
            PACKED,
        ),
        "segment_bytes": Known(
            "storage",
            "compressed transcripts",
            1,
            256 * KIB,
            "they go with their sessions",
            KEPT,
        ),
        "blob_bytes": Known(
            "storage",
            "large texts and skills",
            1,
            256 * KIB,
            "each is stored once and goes with the last session that refers to it",
            KEPT,
        ),
        "live_bytes": Known(
            "storage",
            "what is in use of the store",
            1,
            MIB,
            "`limits.disk` bounds it; what is kept for less time takes less",
            KEPT,
        ),
        "fact_bytes": Known(
            "storage",
            "texts of facts that agents remember",
            1,
            256 * KIB,
            "the least valuable makes room for a new one",
            "[memory] max_facts",
        ),
        "main_bytes": Known(
            "storage",
            "the database file",
            1,
            MIB,
            "it holds all that is kept; what is freed is used again first, and then given back to the disk",
            KEPT,
        ),
        "free_bytes": Known(
            "storage", "free pages in that file", 1, 4 * MIB, "used again first, then given back"
        ),
        "wal_bytes": Known(
            "storage", "the log of the database", 1, 24 * MIB, "folded into the file at about 16 MB of it"
        ),
        "sqlite_bytes": Known(
            "cache", "what SQLite holds", 1, MIB, "page caches of 2 MB for the writer, 1 MB for each reader"
        ),
        "rss_bytes": Known(
            "memory", "resident memory", 1, MIB, "the memory of the process, and files that are mapped"
        ),
        "anonymous_bytes": Known(
            "memory", "memory that only the process gives back", 1, MIB, "the Python heap and the native gap"
        ),
        "python_heap_bytes": Known(
            "allocator",
            "Python heap (objects up to 512 bytes)",
            1,
            MIB,
            "`tidegate growth explain --allocations` names the lines",
        ),
        "native_gap_bytes": Known(
            "allocator",
            "native memory (large objects, libraries, SQLite, what the system's allocator keeps)",
            1,
            MIB,
            "what of it is free is told at the end",
        ),
        "tasks": Known("process", "tasks", 4 * KIB, 5, "one or two a stream and a run", "[runs] slots"),
        "threads": Known("process", "threads", 64 * KIB, 3, "they are shared and rest between two uses"),
        "files": Known("process", "open files, sockets and pipes", KIB, 5, "one a connection"),
    }
)


def stays(name: PolicyName, state: State, policy: Policy) -> tuple[str, str]:
    """Say how long sessions under a policy stay in a state, and which setting says so."""
    section = f"[lifecycle.{name}]"
    match state:
        case State.CREATED | State.ACTIVE if name.is_conversation:
            idle = _span(policy.archive_after_ms, "archived {} after the last message", "never archived")
            return idle, f"{section} idle_after"
        case State.CREATED | State.ACTIVE:
            return _span(
                policy.max_runtime_ms, "ended after {} at most", "not ended"
            ), f"{section} max_runtime"
        case State.COMPLETED:
            return _span(policy.archive_after_ms, "archived after {}", "kept"), f"{section} archive_after"
        case State.ARCHIVED:
            kept = _span(policy.delete_after_ms, "archived ones stay {}", "archived ones stay for ever")
            failed = policy.delete_failed_after_ms
            return kept + (f" (failed ones {days(failed)})" if failed else ""), f"{section} delete_after"


def named(setting: str, name: PolicyName, policy: Policy) -> str:
    """Return a setting by its name, where it is one of sessions that of a policy."""
    if setting == KEPT:
        return stays(name, State.ARCHIVED, policy)[1]
    if setting == PACKED:
        return stays(name, State.ACTIVE if name.is_conversation else State.COMPLETED, policy)[1]
    return setting


def days(ms: int) -> str:
    """Print a time as people say it, in days from two of them on."""
    return f"{ms // DAY_MS} d" if ms >= 2 * DAY_MS and ms % DAY_MS == 0 else print_span(ms)


def _span(ms: int | None, words: str, never: str) -> str:
    if ms is None:
        return never
    return words.format(days(ms)) if ms else words.format("0 s").replace("after 0 s", "at once")
