"""Finds the plugins that the configuration names: entry points of the group ``tidegate.hooks``.

An entry point leads to a module, or to any object, with functions that are called as the events are
(``session_created``, ``run_finished``, …); each takes one `Event`. What is installed and not named is never imported.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tidegate.domain.event import Event, EventName
from tidegate.errors import ConfigError

GROUP = "tidegate.hooks"
ERROR_CHARS = 300

Function = Callable[[Event], object]


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's code, by the events that it wants to be told of."""

    name: str
    functions: Mapping[EventName, Function]


def load(names: Sequence[str]) -> list[Plugin]:
    """Import the named plugins, in order.

    Raises:
        ConfigError: One is not installed, is there twice, cannot be imported, or has no function for any event.
    """
    return [_plugin(name) for name in names]


def words(error: BaseException) -> str:
    """Say what went wrong in somebody's code, in one short line; the error itself may be broken as well."""
    try:
        said = str(error)[:ERROR_CHARS]
    except BaseException:  # noqa: BLE001 - a stranger's code, asked to describe itself
        said = "…"
    return " ".join(f"{type(error).__name__}: {said}".split())[:ERROR_CHARS]


def _plugin(name: str) -> Plugin:
    from importlib.metadata import entry_points  # noqa: PLC0415 - 1 MB that a gateway without plugins need not hold

    found = list(entry_points(group=GROUP, name=name))
    at = f"[plugins] hooks: {name!r}"
    if not found:
        there = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        raise ConfigError(f"{at} is not installed", hint=f"plugins installed here: {there}")
    if len(found) > 1:
        raise ConfigError(f"{at} is in {len(found)} packages", hint="uninstall all but one of them")
    try:
        place = found[0].load()
        functions = {event: function for event in EventName if (function := getattr(place, event, None))}
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{at} cannot be loaded: {words(error)}", hint=f"it is {found[0].value}") from error
    if not functions or not all(map(callable, functions.values())):
        hint = f"{found[0].value} needs a function for one of {', '.join(EventName)}"
        raise ConfigError(f"{at} cannot be told of anything", hint=hint)
    return Plugin(name=name, functions=functions)
