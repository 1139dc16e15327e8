"""What grew between two readings of the gauges, in words, with the setting that would change it.

Changes are ordered by about how many bytes they are: bytes count as such, a row, a task or a thread by what one of it
takes. Views overlap: the file holds the sessions, and the sessions of a kind hold their texts. What the process holds
began anew with its start, so it is compared with that where a start lies in between.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tidegate.bounded import Gauge
from tidegate.domain import remedy
from tidegate.domain.policy import Policies
from tidegate.domain.remedy import KNOWN, MIB, SESSION_BYTES, Known
from tidegate.domain.session import Kind, PolicyName, State
from tidegate.units import print_size

CONTAINER = "container."
#: begin anew with each start of the process
OF_PROCESS = frozenset({"memory", "allocator", "cache", "container", "process"})
SHARE = 100  # of a container, below which nothing is worth a word
_SUMS = ("runs", "approvals", "outbox")

Values = Mapping[str, int]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that grew."""

    #: sessions, table, storage, cache, container, memory, allocator, process
    part: str
    name: str
    #: ``bytes`` or ``count``, of `before` and `now`
    unit: str
    before: int
    now: int
    #: about how many bytes more that is
    about_bytes: int
    text: str
    setting: str = ""
    #: of sessions: by state, before and now
    states: Mapping[State, tuple[int, int]] = {}


class Readings(NamedTuple):
    """The gauges then and now; what the process holds is compared with its own start if that is later."""

    stored: Values
    process: Values
    now: Values


class Bounds(NamedTuple):
    """What holds each thing."""

    policies: Policies
    #: how many sessions there are now
    sessions: Mapping[tuple[PolicyName, State], int]
    gauges: Sequence[Gauge]


def grown(readings: Readings, bounds: Bounds) -> list[Change]:
    """Return what grew enough to be worth a word, the most first; a series that was not there before is left out."""
    stored, process, now = map(summed, readings)
    found = [change for kind in Kind if (change := _sessions(kind, stored, now, bounds)) is not None]
    kind = _foremost(found, now)
    gauges = {f"{CONTAINER}{gauge.name}": gauge for gauge in bounds.gauges}
    for name, value in now.items():
        known = KNOWN.get(name) or _known(name, gauges.get(name))
        before = None if known is None else (process if known.part in OF_PROCESS else stored).get(name)
        if known is not None and before is not None and value - before >= known.floor:
            policy = _policy(kind, State.ARCHIVED, bounds)
            setting = remedy.named(known.setting, policy, bounds.policies[policy])
            found.append(_change(name, known._replace(setting=setting), before, value))
    return sorted(found, key=lambda change: (-change.about_bytes, change.part, change.name))


def summed(values: Values) -> dict[str, int]:
    """Return the series with those in one that are told as one."""
    sums: Counter[str] = Counter()
    kept = {}
    for name, value in values.items():
        family = name.partition(".")[0]
        if family in _SUMS:
            sums[family] += value
        else:
            kept[name] = value
    sizes = [
        value for name, value in values.items() if name.startswith("sessions.") and name.endswith("_bytes")
    ]
    if sizes and "segment_bytes" in values:
        kept["entries_bytes"] = sum(sizes) - values["segment_bytes"]
    return kept | sums


def _sessions(kind: Kind, before: Values, now: Values, bounds: Bounds) -> Change | None:
    states = {
        state: (before.get(f"sessions.{kind}.{state}", 0), now[f"sessions.{kind}.{state}"]) for state in State
    }
    was, is_now = (sum(pair[index] for pair in states.values()) for index in (0, 1))
    series = f"sessions.{kind}_bytes"
    size = now.get(series, 0) - before[series] if series in before else None
    if is_now <= was and (size or 0) < KNOWN["entries_bytes"].floor:
        return None
    state = max(State, key=lambda one: states[one][1] - states[one][0])
    name = _policy(kind, state, bounds)
    words, setting = remedy.stays(name, state, bounds.policies[name])
    moved = [f"{one} {_moved(*pair, _count)}" for one, pair in states.items() if pair[0] != pair[1]]
    told = f"{kind} sessions: {_moved(was, is_now, _count)}"
    told += "" if size is None else f", {_signed(size)} on disk"
    told += f" ({', '.join(moved)})" if moved else ""
    return Change(
        part="sessions",
        name=kind,
        unit="count",
        before=was,
        now=is_now,
        about_bytes=(is_now - was) * SESSION_BYTES + (size or 0),
        text=f"{told}; {words}: {setting}",
        setting=setting,
        states=states,
    )


def _foremost(changes: Sequence[Change], now: Values) -> Kind:
    """Return the kind whose sessions grew most; where none did, the one that holds most."""
    if changes:
        return Kind(max(changes, key=lambda change: change.about_bytes).name)
    return max(Kind, key=lambda kind: now.get(f"sessions.{kind}_bytes", 0))


def _policy(kind: Kind, state: State, bounds: Bounds) -> PolicyName:
    """Return what the sessions of a kind live under; of two policies the one that has more of them in a state."""
    names = [name for name in PolicyName if name.kind is kind]
    return max(names, key=lambda name: bounds.sessions.get((name, state), 0))


def _change(name: str, known: Known, before: int, now: int) -> Change:
    told = f"{known.label}: {_moved(before, now, print_size if known.is_bytes else _count)}"
    told += f"; {known.words}" if known.words else ""
    return Change(
        part=known.part,
        name=name.removeprefix(CONTAINER),
        unit="bytes" if known.is_bytes else "count",
        before=before,
        now=now,
        about_bytes=(now - before) * known.each,
        text=f"{told}: {known.setting}" if known.setting else told,
        setting=known.setting,
    )


def _known(name: str, gauge: Gauge | None) -> Known | None:
    """Return what a container, or a series that nobody has described, is."""
    if gauge is not None:
        part = "cache" if gauge.is_bytes else "container"
        limit = f"{print_size(gauge.limit) if gauge.is_bytes else _count(gauge.limit)} at most"
        words = f"{limit}; when full, {gauge.when_full}" if gauge.when_full else limit
        each = 1 if gauge.is_bytes else 1_000
        return Known(part, f"{part} {gauge.name}", each, max(1, gauge.limit // SHARE), words)
    if name.startswith(("sessions.", CONTAINER)) or name.endswith("_us"):
        return None
    is_bytes = name.endswith("_bytes")
    return Known("table", name.replace("_", " "), 1 if is_bytes else 200, MIB if is_bytes else 1, "")


def _moved(before: int, now: int, printed: Callable[[int], str]) -> str:
    return f"{printed(before)} -> {printed(now)}"


def _signed(size: int) -> str:
    return f"{'+' if size >= 0 else '-'}{print_size(abs(size))}"


def _count(value: int) -> str:
    return f"{value:,}"
