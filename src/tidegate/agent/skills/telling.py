"""Skills and their problems as plain data: what the API answers and the command line prints."""

from typing import TypedDict

from tidegate.agent.skills.choice import Choice, Listing
from tidegate.domain.skill import Problem

Plain = dict[str, object]


class Page(TypedDict):
    """A page of skills, and what is wrong with places as a whole."""

    skills: list[Plain]
    next: str | None
    problems: list[Plain]


def page_of(choice: Choice, first: int, limit: int) -> Page:
    """Show a page of what an agent has."""
    page = choice.listings[first : first + limit]
    following = first + limit
    return {
        "skills": [_shown(listing) for listing in page],
        "next": str(following) if following < len(choice.listings) else None,
        "problems": [told(problem) for problem in choice.problems],
    }


def _shown(listing: Listing) -> Plain:
    skill = listing.book.skill
    return {
        "name": listing.name,
        "description": skill.description if skill else "",
        "source": listing.source,
        "path": listing.file,
        "hash": listing.book.hash,
        "bytes": listing.book.bytes,
        "used": listing.is_used,
        "shadowed": listing.is_shadowed,
        "problems": [told(problem) for problem in listing.problems],
        "license": skill.license if skill else "",
        "compatibility": skill.compatibility if skill else "",
        "metadata": skill.metadata if skill else {},
        "allowed_tools": skill.allowed_tools if skill else (),
    }


def told(problem: Problem) -> Plain:
    """Return a problem as plain data."""
    return {
        "severity": problem.severity,
        "path": problem.path,
        "line": problem.line,
        "message": problem.message,
        "remedy": problem.remedy,
    }
