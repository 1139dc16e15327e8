"""The skills that a session has: which blob stands for which name, named by a hash over all of them.

Sessions with the same skills have the same snapshot, whichever agent, folder or order the skills came from.
"""

import hashlib
from collections.abc import Iterable
from functools import cached_property

import msgspec

from tidegate.ids import BlobHash


class SkillRef(msgspec.Struct, frozen=True):
    """A skill in a snapshot: its name, and the blob that holds its SKILL.md."""

    name: str
    blob: BlobHash


class Snapshot(msgspec.Struct, frozen=True, dict=True):
    """A manifest of skills, sorted by name; build it with `snapshot_of`."""

    skills: tuple[SkillRef, ...]

    @cached_property
    def name(self) -> str:
        """The SHA-256 of the canonical form: a JSON list of pairs, sorted, without spaces; in hexadecimal."""
        pairs = [(skill.name, skill.blob) for skill in self.skills]
        return hashlib.sha256(msgspec.json.encode(pairs)).hexdigest()


def snapshot_of(skills: Iterable[SkillRef]) -> Snapshot:
    """Build a snapshot from skills with different names, in any order."""
    return Snapshot(tuple(sorted(skills, key=lambda skill: skill.name)))
