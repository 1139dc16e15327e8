"""What must hold of prices, and of who is told."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import fields

from tidegate.config.place import Keys
from tidegate.config.section import Table, WrongError, section, suggestion, table_of
from tidegate.config.tree import Config, ModelPrice
from tidegate.errors import BadRequest
from tidegate.ids import session_key

MAX_NAMES = 1_000


def named(table: Table, folder: Path) -> Mapping[str, ModelPrice]:
    """Build the tables ``[prices."MODEL"]``.

    Raises:
        WrongError: Something is unknown, of the wrong type or out of range.
    """
    if len(table) > MAX_NAMES:
        raise WrongError(("prices",), None, f"there are more than {MAX_NAMES}")
    found = {}
    for name, value in table.items():
        at: Keys = ("prices", name)
        keys = table_of(value, at)
        if any(isinstance(one, dict) for one in keys.values()):
            hint = f'put the name of the model in quotes, as in [prices."{name}.…"]'
            raise WrongError(at, None, "this is no price", hint)
        known = {field.encode_name for field in fields(ModelPrice)}
        for key in sorted(keys.keys() - known):
            raise WrongError(at, key, "there is no such key here", suggestion(key, known))
        for key in ("input", "output"):
            if key not in keys:
                raise WrongError(
                    at, None, f"{key} is missing", f"add {key} = 0.25, dollars for a million tokens"
                )
        for key, one in keys.items():
            if isinstance(one, float) and not math.isfinite(one):
                raise WrongError(at, key, "this is no number of dollars")
        found[name] = section(ModelPrice, keys, at, folder)
    return MappingProxyType(found)


def check(config: Config) -> None:
    """Refuse alerts that would reach nobody.

    Raises:
        WrongError: They name a webhook or a chat that cannot be.
    """
    at, alerts = ("alerts",), config.alerts
    if alerts.webhook and alerts.webhook not in config.webhooks:
        hint = (
            suggestion(alerts.webhook, config.webhooks)
            if config.webhooks
            else "add a [webhooks.NAME] section"
        )
        raise WrongError(at, "webhook", f"there is no webhook {alerts.webhook[:80]!r}", hint)
    if alerts.chat:
        try:
            session_key(alerts.chat)
        except BadRequest as error:
            raise WrongError(at, "chat", error.message, error.hint) from None
    if alerts.weekly and not (alerts.webhook or alerts.chat):
        raise WrongError(at, "weekly", "it is not said who is told", "add webhook or chat")
