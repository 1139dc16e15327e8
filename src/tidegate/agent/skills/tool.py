"""The tool that reads skills: a body from the session's snapshot, a resource from the skill's folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import anyio
import msgspec

from tidegate.agent.skills import resource
from tidegate.agent.skills.catalog import TOOL
from tidegate.agent.tools import Caller, Reach, Tool, ToolFailed, decoded, spec
from tidegate.ids import SessionId
from tidegate.threads import on_thread

T = TypeVar("T")

# An entry that is larger than 64 KiB would be cut for the model.
PAGE_BYTES = 40_000
FILES_BYTES = 16_000
READERS = 2

_DESCRIPTION = (
    "Read a skill: instructions for a kind of work, and the names of the files that belong to it. "
    "With `file`, read one of these files."
)


class Library(Protocol):
    """Who knows the skills of sessions, and where they lie."""

    async def body(self, session: SessionId, name: str) -> str:
        """Return the body of a skill that a session has.

        Raises:
            ToolFailed: It has no skill of this name, or its text is lost.
        """

    def folder(self, agent: str, name: str) -> Path | None:
        """Return where the skill of an agent lies now; nothing if it has gone."""


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(description="the name of the skill", max_length=64)]
    file: Annotated[str | None, msgspec.Meta(description="a file of the skill, as it was listed")] = None
    offset: Annotated[int, msgspec.Meta(ge=0, description="where to go on in a long text")] = 0


def skill_tool(library: Library) -> Tool:
    """Return the tool ``skill``."""
    limiter = anyio.CapacityLimiter(READERS)

    async def in_thread(work: Callable[[], T]) -> T:
        return await on_thread(work, limiter)

    async def call(ask: _Ask, caller: Caller) -> str:
        body = await library.body(caller.session, ask.name)
        folder = library.folder(caller.agent, ask.name)
        if ask.file is not None:
            if folder is None:
                hint = "its instructions can still be read, without `file`"
                raise ToolFailed(f"the folder of the skill {ask.name!r} has gone", hint=hint)
            return _page(await in_thread(partial(resource.text, folder, ask.file)), ask.offset)
        page = _page(body, ask.offset)
        if ask.offset or folder is None:
            return page
        return page + _told(folder, await in_thread(partial(resource.listed, folder)))

    return Tool(
        spec=spec(TOOL, _DESCRIPTION, _Ask), run=decoded(_Ask, call), is_idempotent=True, reach=Reach.READ
    )


def _page(text: str, offset: int) -> str:
    piece = text[offset : offset + PAGE_BYTES].encode()[:PAGE_BYTES].decode(errors="ignore")
    left = len(text) - offset - len(piece)
    if left <= 0:
        return piece
    return f"{piece}\n\n[{left:,} characters more: call again with offset={offset + len(piece)}]"


def _told(folder: Path, found: resource.Resources) -> str:
    """Tell which files a skill has."""
    if not found.files:
        return ""
    lines = [f"Files of this skill, in {folder}; read one with `file`:"]
    room = FILES_BYTES
    for one in found.files:
        line = f"- {one.name} ({one.bytes:,} bytes)"
        room -= len(line.encode())
        if room < 0:
            break
        lines.append(line)
    if found.has_more or room < 0:
        lines.append("- and more")
    return "\n\n---\n" + "\n".join(lines) + "\n"
