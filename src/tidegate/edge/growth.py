"""How the gateway grows, over HTTP: points of its rings, and what they mean."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from tidegate.clock import iso
from tidegate.domain.sample import COARSE, FINE, MIDDLE, Point, Ring
from tidegate.domain.trend import Verdict
from tidegate.edge import query
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.runtime.growth import Growth

SPANS: Mapping[str, Ring] = MappingProxyType({"1h": FINE, "1d": MIDDLE, "90d": COARSE})
MOST_SERIES = 64  # in one answer
MOST_POINTS = 1_440  # of each of them
COLUMNS = ("at", "min", "max", "last", "boot")
#: what is shown where nothing else is asked for
USUAL = (
    "rss_bytes",
    "anonymous_bytes",
    "python_heap_bytes",
    "native_gap_bytes",
    "sqlite_bytes",
    "live_bytes",
    "main_bytes",
    "wal_bytes",
    "sessions.chat.active",
    "sessions.subagent.active",
    "runs.interactive.running",
    "tasks",
    "files",
    "loop_lag_us",
)


class GrowthPage:
    """Handlers over the instruments."""

    def __init__(self, growth: Growth, boots: int) -> None:
        self._growth = growth
        self._boots = boots

    async def show(self, request: Request) -> Response:
        """Answer some series over a span, with their verdicts."""
        asked = request.query_params
        span = asked.get("span") or "1h"
        if span not in SPANS:
            raise BadRequest(f"span={span[:40]!r} is none", hint=f"use {', '.join(SPANS)}")
        limit = min(query.integer(asked, "points", 360), MOST_POINTS)
        if limit == 0:
            raise BadRequest("points=0 asks for nothing", hint=f"use 1 to {MOST_POINTS}")
        known = await self._growth.names()
        names = _chosen(asked.get("series", ""), known)
        history = await self._growth.history(SPANS[span], names, limit)
        return Json(
            {
                **self.summary(),
                "span": span,
                "step_s": SPANS[span].step_ms // 1_000,
                "columns": COLUMNS,
                "series": {name: self._series(name, history[name]) for name in names},
                "names": known,
            }
        )

    def summary(self) -> dict[str, object]:
        """Return what is always told: the verdict, and what it may rest on."""
        first_at = self._growth.first_answer_at
        return {
            "trend": self._growth.told(self._growth.overall),
            "trend_of": self._growth.overall,
            "first_answer_at": iso(first_at) if first_at else None,
            "uptime_s": self._growth.uptime_ms // 1_000,
            "boots": self._boots,
        }

    def _series(self, name: str, points: Sequence[Point]) -> dict[str, object]:
        latest = self._growth.latest.values if self._growth.latest else {}
        return {
            "unit": unit(name),
            "now": latest.get(name),
            "trend": self._growth.told(name),
            "verdict": verdict_out(self._growth.verdict(name)),
            "points": [_row(point) for point in points if point.range is not None],
        }

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/growth",
                handler=self.show,
                summary="How the gateway grows: series over a span, each with a verdict",
                query={
                    "series": f"names with commas, {MOST_SERIES} at most; a name that ends in `*` is a beginning",
                    "span": ", ".join(SPANS),
                    "points": f"about how many of each series, 360 by default, {MOST_POINTS:,} at most",
                },
                errors=(400,),
            )
        ]


def unit(name: str) -> str:
    """Return what a series is counted in."""
    if name.endswith("_bytes"):
        return "bytes"
    return "microseconds" if name.endswith("_us") else "count"


def verdict_out(verdict: Verdict) -> dict[str, object]:
    """Show a verdict; slopes are an hour."""
    return {
        "shape": verdict.shape,
        "slope_per_hour": verdict.slope,
        "low": verdict.low,
        "high": verdict.high,
        "limit_in_s": None if verdict.limit_in_ms is None else verdict.limit_in_ms // 1_000,
    }


def _chosen(text: str, known: Sequence[str]) -> list[str]:
    """Return the series that are asked for.

    Raises:
        BadRequest: One of them is not known, or they are too many.
    """
    if not text:
        return [name for name in USUAL if name in known]
    chosen: dict[str, None] = {}
    for wanted in text.split(","):
        found = [name for name in known if _fits(name, wanted)]
        if not found:
            raise BadRequest(f"there is no series {wanted[:80]!r}", hint="`names` of /api/growth lists them")
        chosen |= dict.fromkeys(found)
    if len(chosen) > MOST_SERIES:
        raise BadRequest(f"that is {len(chosen)} series", hint=f"ask for {MOST_SERIES} at most")
    return list(chosen)


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def _row(point: Point) -> tuple[float, int, int, int, int]:
    low, high, last = point.range or (0, 0, 0)
    return point.at / 1_000, low, high, last, point.boot
