"""How much there is: counts that are kept with each transition, and bytes on the disk."""

from collections.abc import Mapping

import msgspec

from tidegate.domain.approval import ApprovalState
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.outbox import DeliveryState
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import PolicyName, State


class Tallies(msgspec.Struct, frozen=True, kw_only=True):
    """Counts kept with each transition; reading them costs the same whatever is stored."""

    #: by policy and state: count and bytes
    sessions: Mapping[tuple[PolicyName, State], tuple[int, int]]
    runs: Mapping[tuple[Lane, RunState], int]
    blobs: int
    blob_bytes: int
    #: of sessions to their large texts, of snapshots to their skills
    references: int
    snapshots: int
    segments: int
    segment_bytes: int
    receipts: int
    approvals: Mapping[ApprovalState, int]
    #: those that run, by who made them, and those that are paused
    jobs: Mapping[JobOrigin, int]
    paused_jobs: Mapping[JobOrigin, int]
    firings: Mapping[FiringOutcome, int]
    outbox: Mapping[DeliveryState, int]
    #: deliveries that there was no room for, ever
    outbox_refused: int
    #: rows of what jobs have cost
    job_spends: int
    #: by agent: count and bytes
    facts: Mapping[str, tuple[int, int]]


class StorageBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Where the disk went, in bytes; `live` is what is in use of the main file and its log, free pages left out."""

    live: int
    main: int
    wal: int
    free: int
    blobs: int
    segments: int
