"""A forecast as people read it: a table of the kinds, what disk and memory come to, and what breaks."""

from collections.abc import Iterator, Sequence

import click

from tidegate.cli.table import Row, Side, table
from tidegate.clock import SECOND_MS
from tidegate.domain.arrival import NEEDS_MS, Basis, told_rate
from tidegate.domain.forecast import KindOutlook, Outlook
from tidegate.units import print_size, print_span


def show(source: str, present: Outlook, scaled: Outlook | None) -> None:
    """Print it."""
    click.echo(source)
    click.echo(_watched(present))
    click.echo()
    _table(present, scaled)
    click.echo()
    outlooks = [present] if scaled is None else [present, scaled]
    for found in outlooks:
        for line in _lines(found):
            click.echo(line)
    for line in _assumptions(present):
        click.echo(line)


def _table(present: Outlook, scaled: Outlook | None) -> None:
    columns: dict[str, Side] = {
        "kind": "left", "arrive": "right", "": "left", "stay": "right",
        "now": "right", "will be": "right", "on disk": "right",
    }  # fmt: skip
    if scaled is not None:
        at = f"at {_scale(scaled)}"
        columns |= {at: "right", f"{at}, disk": "right"}
    rows = [
        [*_present(name, kind), *(_counts(scaled.kinds[name]) if scaled else ())]
        for name, kind in present.kinds.items()
    ]
    table(columns, rows, spare=["", "now", "stay"])


def _present(name: str, kind: KindOutlook) -> Row:
    stays = "never" if kind.stays_s is None else print_span(round(kind.stays_s * SECOND_MS))
    return [name, told_rate(kind.per_day), kind.basis.value, stays, f"{kind.now:,}", *_counts(kind)]


def _counts(kind: KindOutlook) -> Sequence[str]:
    """Return how many there will be and what they take; how fast that grows where it never levels off."""
    if kind.live is not None and kind.disk_bytes is not None:
        return [f"{kind.live:,.0f}", print_size(kind.disk_bytes)]
    size = kind.size.archived if kind.states["archived"] is None else kind.size.hot
    return [f"+{told_rate(kind.per_day)}", f"+{print_size(kind.per_day * size)}/d"]


def _lines(found: Outlook) -> Iterator[str]:
    """Yield what disk and memory come to, and what breaks."""
    disk, memory, when = found.disk, found.memory, _when(found)
    comes_to = (
        f"grows by {print_size(disk.grows_bytes)} a day{_beside(found)}"
        if disk.bytes is None or disk.worst_bytes is None
        else f"levels off at {print_size(disk.bytes)}, at worst {print_size(disk.worst_bytes)}"
    )
    yield f"{when}, disk: {comes_to}{_now(disk.now_bytes)}, limit {print_size(disk.limit_bytes)}"
    comes_to = f"{print_size(memory.bytes)}, at worst {print_size(memory.worst_bytes)}"
    yield f"{when}, memory: {comes_to}{_now(memory.now_bytes)}, limit {print_size(memory.limit_bytes)}"
    says = [one.says for one in (*found.breaks, *found.breaks_at_worst)]
    yield f"{when}: {'; '.join(says) or 'nothing breaks'}"


def _beside(found: Outlook) -> str:
    """Say what levels off while something else grows for ever; it may be far more."""
    level = sum(kind.disk_bytes or 0 for kind in found.kinds.values())
    return f" beside {print_size(level)} that level off" if level else ""


def _now(size: int | None) -> str:
    return "" if size is None else f", {print_size(size)} now"


def _watched(found: Outlook) -> str:
    """Say how long a gateway was watched, and whether that is enough."""
    span_ms = found.observed_s * SECOND_MS
    if span_ms >= NEEDS_MS:
        return f"rates are those of the last {print_span(span_ms)} of a running gateway"
    so_far = f"; so far {print_span(span_ms)}" if span_ms else ""
    return f"measured rates need {print_span(NEEDS_MS)} of a running gateway{so_far}"


def _assumptions(found: Outlook) -> Iterator[str]:
    rates = [
        f"{name} {told_rate(kind.per_day)}"
        for name, kind in found.kinds.items()
        if kind.basis is Basis.ASSUMED and kind.per_day
    ]
    if rates:
        yield f"assumed rates (--rate KIND=N/h takes another one): {', '.join(rates)}"
    sizes = {
        (kind.size.hot, kind.size.archived) for kind in found.kinds.values() if not kind.size.is_measured
    }
    names = [name for name, kind in found.kinds.items() if not kind.size.is_measured]
    for hot, archived in sizes:
        yield f"assumed sizes: {print_size(hot)} a session, {print_size(archived)} archived ({', '.join(names)})"


def _when(found: Outlook) -> str:
    return "now" if found.scale == 1 else f"at {_scale(found)}"


def _scale(found: Outlook) -> str:
    return f"{found.scale:,.10g} x"
