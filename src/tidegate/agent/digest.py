"""The summary of the offline model: counts, the first message and the latest ones, always in the same bounded form.

Counts and the first message are carried over from the summary before, so that a summary of summaries tells of the
whole conversation.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from tidegate.agent.model import Prompt
from tidegate.domain.entry import Body, Summary

LINE_CHARS = 120  # of a message that is quoted
LATEST = 3  # messages quoted

_HEAD = re.compile(r"offline summary of (\d+) messages, (\d+) answers and (\d+) tool calls")
_FIRST = "first: "
_object = msgspec.json.Decoder(dict[str, str])


def digest(prompt: Prompt) -> str:
    """Summarise the material of a prompt, see `agent.summary`, in as many bytes as it asks for."""
    before = next((body.text for body in prompt.bodies if isinstance(body, Summary)), "")
    counts, first = _counted(before)
    said: list[str] = []
    for line in _lines(prompt.bodies):
        counts.update(kind for kind in ("user", "assistant", "call") if kind in line)
        said += [f"{kind}: {_quoted(line[kind])}" for kind in ("user", "assistant") if kind in line]
        first = first or _quoted(line.get("user", ""))
    head = (
        f"offline summary of {counts['user']} messages, {counts['assistant']} answers "
        f"and {counts['call']} tool calls"
    )
    text = "\n".join([head, f"{_FIRST}{first}", *said[-LATEST:]])
    return text.encode()[: prompt.summary_bytes].decode(errors="ignore")


def _lines(bodies: Sequence[Body]) -> Iterator[Mapping[str, str]]:
    """Yield the material: one JSON object a line."""
    for body in bodies:
        if not isinstance(body, Summary):
            yield from map(_object.decode, body.text.split("\n"))


def _counted(before: str) -> tuple[Counter[str], str]:
    """Return the counts and the first message that an earlier digest tells."""
    lines = before.splitlines()
    match = _HEAD.fullmatch(lines[0]) if lines else None
    if match is None:
        return Counter(), ""
    counts = Counter(user=int(match[1]), assistant=int(match[2]), call=int(match[3]))
    return counts, next((line.removeprefix(_FIRST) for line in lines if line.startswith(_FIRST)), "")


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}..."
