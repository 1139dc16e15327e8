"""What a model is told of the skills that a session has: names and descriptions, as many as there is room for."""

from collections.abc import Mapping

TOOL = "skill"

_INTRODUCTION = (
    "You have skills: instructions for particular kinds of work. When a task matches one of them, read it with the "
    f"tool `{TOOL}` before you begin, and follow it.\n"
)


def tell(skills: Mapping[str, str], max_bytes: int) -> str:
    """Tell descriptions by name within *max_bytes*, but for the first lines.

    Where there is no room for all descriptions, the last names have none; where there is none for all names, the first
    ones are told, and how many more there are. Nothing is told of no skills.
    """
    if not skills:
        return ""
    names = sorted(skills)
    short = [f"- {name}" for name in names]
    room = max_bytes - sum(len(line) + 1 for line in short)
    if room < 0:
        return _INTRODUCTION + "\n".join(_first(short, max_bytes))
    lines: list[str] = []
    for name, line in zip(names, short, strict=True):
        size = len(skills[name].encode()) + 2
        lines.append(f"{line}: {skills[name]}" if size <= room else line)
        room -= size
    return _INTRODUCTION + "\n".join(lines)


def _first(lines: list[str], room: int) -> list[str]:
    """Return the first lines for which there is room, and one that counts the others."""
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < len("- and 1,000 more"):
            break
        kept.append(line)
    return [*kept, f"- and {len(lines) - len(kept):,} more" if kept else f"- {len(lines):,} in all"]
