"""Which entries stay in the prompt when a summary takes the place of those around them.

Pinned are the instructions that a request brought along (of several the latest), the skills that were read (the latest
reading of each), the first message of a user where that is wished, and the message that is being worked on while no
later one is behind the cut. The newest come first, as far as there is room for them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tidegate.agent.pairing import pairs
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.domain.entry import Call, Entry, System, User, text_bytes

MAX_PINNED = 64  # entries


class Room(NamedTuple):
    """How much may be pinned, and whether the first message is."""

    max_bytes: int
    keeps_first: bool


def pinned(entries: Sequence[Entry], room: Room, *, with_message: bool) -> tuple[int, ...]:
    """Return the seqs of those of *entries* that stay, in order; *with_message*: the last message is one of them."""
    messages = [entry for entry in entries if isinstance(entry.body, User)]
    kept = {messages[-1].seq} if with_message and messages else set()
    groups = _instructions(entries)
    groups += [messages[:1]] if room.keeps_first else []
    groups += _skills(entries)
    left, count = room.max_bytes, MAX_PINNED
    for group in sorted(groups, key=lambda group: group[-1].seq if group else 0, reverse=True):
        left -= sum(text_bytes(entry.body) for entry in group)
        count -= len(group)
        if left < 0 or count < 0:
            break
        kept |= {entry.seq for entry in group}
    return tuple(sorted(kept))


def _instructions(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return what the latest request that instructed anything did; what it says twice stays once."""
    said = [entry for entry in entries if isinstance(entry.body, System)]
    found = [entry for entry in said if entry.body.run == said[-1].body.run]
    return [[entry] for entry in {(entry.body.text, entry.body.blob): entry for entry in found}.values()]


def _skills(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the calls that read skills with their results, of each reading the latest."""
    paired = pairs([entry.body for entry in entries])
    found: dict[str, list[Entry]] = {}
    for call, result in paired.items():
        body = entries[call].body
        if isinstance(body, Call) and body.tool == SKILL_TOOL:
            found[body.text] = [entries[call], entries[result]]
    return list(found.values())
