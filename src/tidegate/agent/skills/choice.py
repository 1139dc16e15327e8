"""Which skills an agent has: of several with one name the first, as many as may be, those that it is allowed."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from tidegate.agent.skills.place import Place, Source
from tidegate.agent.skills.shelf import FILE, MAX_FOLDERS, Book, Shelf
from tidegate.domain.skill import Problem, Severity
from tidegate.domain.snapshot import SkillRef, Snapshot, snapshot_of

MAX_SKILLS = MAX_FOLDERS
MAX_SET_BYTES = 16 << 20


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A folder as an agent sees it; its skill is used unless another one has its name or there are too many."""

    place: Place
    book: Book
    #: of the skill, or of the folder where it holds none
    name: str
    is_shadowed: bool = False
    is_used: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def source(self) -> Source:
        """Who has put it there."""
        return self.place.source

    @property
    def file(self) -> str:
        """Where its SKILL.md is."""
        return f"{self.book.path}/{FILE}"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The skills of one agent at one moment."""

    #: by name, of each name the one that is used first
    listings: tuple[Listing, ...] = ()
    #: of whole places, or of the configuration
    problems: tuple[Problem, ...] = ()
    snapshot: Snapshot = Snapshot(())

    #: those that are used, by name
    used: Mapping[str, Listing] = {}


def choose(shelf: Shelf, places: Sequence[Place], allowed: Collection[str] | None) -> Choice:
    """Choose among what lies on a shelf; None allows every name."""
    found = [one for one in _found(shelf, places) if allowed is None or one.name in allowed]
    first: dict[str, Listing] = {}
    for one in found:
        if one.book.skill is not None:
            first.setdefault(one.name, one)
    listings, left_out = _within_bounds(found, first)
    problems = [problem for place in dict.fromkeys(places) for problem in shelf.problems(place)]
    if left_out:
        problems.append(_too_many(left_out))
    problems += [_unknown(name) for name in sorted(allowed or ()) if name not in first]
    refs = [SkillRef(one.name, one.book.hash) for one in listings if one.is_used and one.book.hash]
    order = sorted(listings, key=lambda one: (one.name, not one.is_used))
    used = {one.name: one for one in order if one.is_used}
    return Choice(listings=tuple(order), problems=tuple(problems), snapshot=snapshot_of(refs), used=used)


def _found(shelf: Shelf, places: Sequence[Place]) -> Iterator[Listing]:
    for place in dict.fromkeys(places):
        for book in shelf.books(place):
            name = book.skill.name if book.skill else book.path.rpartition("/")[2]
            yield Listing(place=place, book=book, name=name, problems=book.problems)


def _within_bounds(found: Sequence[Listing], first: dict[str, Listing]) -> tuple[list[Listing], int]:
    """Say of each listing whether it is used; count those for which there is no room."""
    others: dict[str, list[Listing]] = {}
    for one in found:
        if one.book.skill is not None and first[one.name] is not one:
            others.setdefault(one.name, []).append(one)
    listings: list[Listing] = []
    count = size = left_out = 0
    for one in found:
        if one.book.skill is None:
            listings.append(one)
        elif first[one.name] is not one:
            winner = first[one.name]
            message = f"{one.name!r} is shadowed by the one in {winner.file}"
            listings.append(_warned(one, message, is_shadowed=True))
        elif count >= MAX_SKILLS or size + one.book.bytes > MAX_SET_BYTES:
            left_out += 1
        else:
            count, size = count + 1, size + one.book.bytes
            used = msgspec.structs.replace(one, is_used=True)
            for other in others.get(one.name, ()):
                used = _warned(used, f"{one.name!r} takes the place of the one in {other.file}")
            listings.append(used)
    return listings, left_out


def _warned(one: Listing, message: str, *, is_shadowed: bool = False) -> Listing:
    problem = Problem(
        severity=Severity.WARNING,
        path=one.file,
        message=message,
        remedy="rename one of the two, unless that is meant",
    )
    return msgspec.structs.replace(one, is_shadowed=is_shadowed, problems=(*one.problems, problem))


def _too_many(count: int) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        path="skills",
        line=0,
        message=f"{count:,} skills are left out: an agent has {MAX_SKILLS:,} with {MAX_SET_BYTES >> 20} MiB at most",
        remedy="name those that it needs in allow_skills",
    )


def _unknown(name: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        path="allow_skills",
        line=0,
        message=f"there is no skill {name[:80]!r}",
        remedy="correct the name, or add the skill",
    )
