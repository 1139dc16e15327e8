"""The 22 skills of the built-in scenario, 41 KB in all: as many and as large as those that other gateways choked on."""

from collections.abc import Mapping
from pathlib import Path

from tidegate.folder import SKILLS, workspace

BYTES = 41_000
NAMES = (
    "answer-mail", "book-a-table", "check-backups", "clean-downloads", "compare-prices", "daily-notes",
    "draft-a-letter", "find-a-flight", "follow-news", "home-report", "meeting-minutes", "order-groceries",
    "pay-a-bill", "plan-a-trip", "read-papers", "sort-photos", "summarise-calls", "track-parcels",
    "translate", "update-servers", "watch-weather", "weekly-review",
)  # fmt: skip

_STEP = (
    "{number}. Look at what there is for step {number} of {name}, write down what is missing, and say so.\n"
)


def skills() -> Mapping[str, bytes]:
    """Return the text of each skill by its name; the same each time."""
    share, rest = divmod(BYTES, len(NAMES))
    return {name: _text(name, share + (at < rest)) for at, name in enumerate(NAMES)}


def furnish(state: Path) -> None:
    """Write the skills into the workspace of a state folder."""
    for name, text in skills().items():
        place = workspace(state) / SKILLS / name
        place.mkdir(exist_ok=True)
        (place / "SKILL.md").write_bytes(text)


def _text(name: str, size: int) -> bytes:
    title = name.replace("-", " ").capitalize()
    head = f"---\nname: {name}\ndescription: {title}. Use it when somebody asks for it.\n---\n# {title}\n\n"
    steps = "".join(_STEP.format(number=number, name=name) for number in range(1, 100))
    return f"{head}{steps}".encode()[: size - 1] + b"\n"
