"""When something happens, as people say it: "archives in 8 min"."""

from datetime import UTC, datetime

from tidegate.cli.answer import Session
from tidegate.units import print_span

MOVES = {"completed": "times out", "archived": "archives", "deleted": "deleted"}


def upcoming(head: Session) -> str:
    """Say what becomes of a session next, and when."""
    if head["due_at"] is None or head["due_to"] is None:
        return "pinned" if head["pinned"] else "kept"
    return f"{MOVES[head['due_to']]} {due(head['due_at'])}"


def due(at: str) -> str:
    """Say how far away an instant is."""
    left_ms = int((datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds() * 1_000)
    return f"in {print_span(left_ms)}" if left_ms > 0 else "now"


def local(at: str) -> str:
    """Return an instant as the clock on the wall shows it here."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def here(at: str) -> str:
    """Return an instant to the minute as people here say it, with the name of their zone; today needs no date."""
    then, now = datetime.fromisoformat(at).astimezone(), datetime.now(UTC).astimezone()
    return then.strftime("%H:%M %Z" if then.date() == now.date() else "%Y-%m-%d %H:%M %Z")
