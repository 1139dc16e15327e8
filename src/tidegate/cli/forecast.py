"""``tidegate forecast``: what there will be, before it happens, now and if so many times as much came."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tidegate.cli.options import config_option, json_option, state_option

if TYPE_CHECKING:
    from tidegate.domain.arrival import Rates
    from tidegate.domain.forecast import Outlook

USUAL_SCALE = 10.0


class Source(NamedTuple):
    """Where a forecast comes from, in words, and what makes one at a scale."""

    says: str
    foretell: "Callable[[float], Outlook]"


@click.command()
@click.option(
    "--scale",
    type=float,
    metavar="X",
    help="And if X times as much came? (default: 10; with --json: 1, and X instead of it)",
)
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="KIND=N/h",
    help="Take another rate than the one that was measured or is assumed; per s, min, h or d; again for several.",
)
@state_option
@config_option
@json_option
def forecast(
    scale: float | None, rates: tuple[str, ...], *, state: Path | None, config: Path | None, as_json: bool
) -> None:
    """Foretell how many sessions there will be, what they take, and which budget breaks first and when.

    Without --config it is the running gateway that is asked, if there is one. With --config it is that file, with the
    rates and sizes that the store in the state folder tells; where there is none they are assumed, and told.
    """
    import msgspec  # noqa: PLC0415 - `tidegate --help` must not pay for it

    from tidegate.cli import outlook  # noqa: PLC0415

    _check_scale(scale)
    asked = ",".join(rates)
    source = _source(state, config, asked, _read(asked))
    if as_json:
        found = source.foretell(1.0 if scale is None else scale)
        click.echo(msgspec.json.encode(found).decode())
        return
    present = source.foretell(1.0)
    wanted = USUAL_SCALE if scale is None else scale
    outlook.show(source.says, present, None if wanted == 1 else source.foretell(wanted))


def _source(state: Path | None, config: Path | None, asked: str, rates: "Rates") -> Source:
    from tidegate.config import state_folder  # noqa: PLC0415
    from tidegate.errors import Unavailable  # noqa: PLC0415

    folder = state_folder(state)
    if config is None:
        try:
            return _gateway(folder, asked)
        except Unavailable:
            pass  # none runs: what it left behind tells as much
    return _folder(folder, config, rates)


def _gateway(folder: Path, asked: str) -> Source:
    """Ask the running gateway.

    Raises:
        Unavailable: None is running.
    """
    import msgspec  # noqa: PLC0415

    from tidegate.cli.client import Client  # noqa: PLC0415
    from tidegate.domain.forecast import Outlook  # noqa: PLC0415

    client = Client(folder)

    def foretell(scale: float) -> "Outlook":
        found = client.get("/api/forecast", scale=scale, rate=asked or None)
        return msgspec.convert(found, Outlook)

    client.get("/healthz")
    return Source(f"the running gateway at {client.url}", foretell)


def _folder(folder: Path, config: Path | None, rates: "Rates") -> Source:
    """Foretell from a configuration, with what the store in a folder tells."""
    from tidegate import config as configuration  # noqa: PLC0415
    from tidegate.clock import SystemClock  # noqa: PLC0415
    from tidegate.domain.arrival import Observed  # noqa: PLC0415
    from tidegate.domain.forecast import outlook  # noqa: PLC0415
    from tidegate.domain.policy import policies  # noqa: PLC0415
    from tidegate.domain.survey import Survey  # noqa: PLC0415
    from tidegate.runtime.forecast import Known, ground, limits  # noqa: PLC0415
    from tidegate.store.visit import look  # noqa: PLC0415

    path = configuration.find(config, folder)
    settings = configuration.read(path)
    now = SystemClock().now()
    seen = look(folder, policies(settings.lifecycle, settings.approvals.expire_after_ms), now)
    survey, observed = seen or (Survey(), Observed())
    known = Known(
        now=now,
        limits=limits(settings, folder),
        survey=survey,
        observed=observed,
        is_other=config is not None,
    )
    rests_on = ground(settings, known, rates)
    words = f"{path or 'the defaults, without a configuration'}"
    words += f"; measured: the store in {folder}" if seen else "; no store, so nothing is measured"
    return Source(words, lambda scale: outlook(rests_on, scale))


def _read(asked: str) -> "Rates":
    """Read the rates.

    Raises:
        UsageError: One makes no sense.
    """
    from tidegate.domain.arrival import read_rates  # noqa: PLC0415

    try:
        return read_rates(asked)
    except ValueError as error:
        raise click.UsageError(f"--rate: {error}", click.get_current_context()) from None


def _check_scale(scale: float | None) -> None:
    """Refuse what is no scale.

    Raises:
        UsageError: It is one of those.
    """
    from tidegate.domain.forecast import MOST_SCALE  # noqa: PLC0415

    if scale is not None and not (math.isfinite(scale) and 0 <= scale <= MOST_SCALE):
        what = f"--scale {scale:g} is no scale; use a number from 0 to {MOST_SCALE:,.0f}"
        raise click.UsageError(what, click.get_current_context())
