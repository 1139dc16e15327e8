"""The skills that a session has, read from the store: what is told of them, and what stands in them.

The disk may hold others by now; a session keeps those of its snapshot, also after a restart.
"""

from pathlib import Path

from tidegate import log
from tidegate.agent.skills import catalog, document
from tidegate.agent.skills.shelf import FILE
from tidegate.agent.tools import ToolFailed
from tidegate.bounded import OLDEST_GOES, LruCache, Registry
from tidegate.domain.snapshot import SkillRef
from tidegate.errors import BlobNotFound, Corrupt
from tidegate.ids import SessionId
from tidegate.runtime.skills import Skills
from tidegate.store.port import Store

CACHE_BYTES = 1 << 20
MAX_NAMES = 50  # that an error tells

_log = log.get("library")


class Library:
    """Reads snapshots."""

    def __init__(self, store: Store, skills: Skills, registry: Registry) -> None:
        self._store = store
        self._skills = skills
        #: by snapshot and by how many bytes there were for it
        self._catalogs: LruCache[tuple[str, int], str] = LruCache(CACHE_BYTES, _size)
        registry.add(
            "skill_catalogs", lambda: self._catalogs.bytes, CACHE_BYTES, when_full=OLDEST_GOES, is_bytes=True
        )

    async def catalog(self, session: SessionId, max_bytes: int) -> str:
        """Tell a model which skills its session has, in about so many bytes; nothing where it has none."""
        head = self._store.session_by_id(session)
        if head is None or head.snapshot is None:
            return ""
        told = self._catalogs.get((head.snapshot, max_bytes))
        if told is None:
            refs = await self._store.skills(head.snapshot)
            skills = {ref.name: await self._description(head.agent, ref) for ref in refs}
            told = catalog.tell(skills, max_bytes)
            self._catalogs.put((head.snapshot, max_bytes), told)
        return told

    async def shed(self) -> None:
        """Forget what can be told again."""
        self._catalogs.clear()

    async def body(self, session: SessionId, name: str) -> str:
        """Return the body of a skill that a session has."""
        head = self._store.session_by_id(session)
        refs = await self._store.skills(head.snapshot) if head and head.snapshot else []
        ref = next((ref for ref in refs if ref.name == name), None)
        if ref is None:
            names = ", ".join(ref.name for ref in refs[:MAX_NAMES])
            raise ToolFailed(f"there is no skill {name!r}", hint=f"there is: {names}" if names else "")
        return (await self._read(ref)).body

    def folder(self, agent: str, name: str) -> Path | None:
        """Return where the skill of an agent lies now; nothing if it has gone."""
        return self._skills.folder(agent, name)

    async def _description(self, agent: str, ref: SkillRef) -> str:
        known = self._skills.description(agent, ref)  # the same bytes say the same
        if known is not None:
            return known
        try:
            read = await self._read(ref)
        except ToolFailed:
            return ""
        return read.skill.description if read.skill else ""

    async def _read(self, ref: SkillRef) -> document.Document:
        try:
            data = await self._store.blob(ref.blob)
        except (BlobNotFound, Corrupt) as error:
            _log.error("skill_lost", skill=ref.name, error=error.message)
            raise ToolFailed(f"the text of the skill {ref.name!r} is lost", hint=error.message) from error
        return document.read(data, f"{ref.name}/{FILE}")


def _size(told: str) -> int:
    return len(told) * 2 + 200
