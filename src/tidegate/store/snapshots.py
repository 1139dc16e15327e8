"""The skills of sessions: a snapshot is stored once, and each SKILL.md in it is a blob that is stored once.

A session refers to its snapshot, the snapshot to its blobs. The last session takes the snapshot away and the last
reference the blob, by triggers of the schema.
"""

from tidegate.domain.snapshot import SkillRef
from tidegate.ids import BlobHash
from tidegate.store import blobs
from tidegate.store.admission import Offer, SnapshotMissing
from tidegate.store.tx import Reads, Tx


def adopt(tx: Tx, offer: Offer) -> str | None:
    """Return the name of a snapshot that a session can refer to, and store what is missing of it.

    Raises:
        SnapshotMissing: The offer lacks bytes that are not stored; nothing was written.
    """
    snapshot = offer.snapshot
    if not snapshot.skills:
        return None
    if tx.one("snapshot", hash=snapshot.name) is None:
        wanted = {skill.blob for skill in snapshot.skills} - offer.bodies.keys()
        missing = frozenset(blob for blob in wanted if tx.one("blob", hash=blob) is None)
        if missing:
            raise SnapshotMissing(missing)
        tx.run("snapshot_born", hash=snapshot.name)
        for skill in snapshot.skills:
            if skill.blob in offer.bodies:
                blobs.keep(tx, skill.blob, offer.bodies[skill.blob])
            tx.run("snapshot_skill_born", snapshot=snapshot.name, name=skill.name, blob=skill.blob)
    return snapshot.name


def skills(reads: Reads, snapshot: str) -> list[SkillRef]:
    """Return the skills of a snapshot, by name."""
    return [SkillRef(name, BlobHash(blob)) for name, blob in reads.all("snapshot_skills", snapshot=snapshot)]
