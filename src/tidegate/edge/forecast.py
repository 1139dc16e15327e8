"""What there will be, over HTTP: before it happens."""

import math

from starlette.requests import Request
from starlette.responses import Response

from tidegate.domain.arrival import read_rates
from tidegate.domain.forecast import MOST_SCALE
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.runtime.forecast import Forecaster


class ForecastPage:
    """The handler over the forecaster."""

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster

    async def show(self, request: Request) -> Response:
        """Answer what comes of so many times as much."""
        scale = _scale(request.query_params.get("scale", ""))
        try:
            rates = read_rates(request.query_params.get("rate", ""))
        except ValueError as error:
            what, _, hint = str(error).partition("; ")
            raise BadRequest(f"rate: {what}", hint=hint) from None
        return Json(await self._forecaster.outlook(rates, scale))


def _scale(text: str) -> float:
    """Read how many times as much comes.

    Raises:
        BadRequest: It is no number from 0 up.
    """
    try:
        scale = float(text or 1) if text.isascii() else math.nan
    except ValueError:
        scale = math.nan
    if not 0 <= scale <= MOST_SCALE:
        raise BadRequest(f"scale={text[:40]!r} is no scale", hint=f"use a number from 0 to {MOST_SCALE:,.0f}")
    return scale
