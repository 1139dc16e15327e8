"""What must hold of webhooks, those that come in and those that go out."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from tidegate import template
from tidegate.config.place import Keys
from tidegate.config.section import Section, Table, WrongError, section, suggestion, table_of
from tidegate.config.tree import EVENTS, OFFLINE, OFFLINE_TOOLS, TOOLS, Config, Hook, Webhook
from tidegate.egress import url as urls
from tidegate.egress.url import UrlRefused
from tidegate.errors import BadRequest
from tidegate.ids import session_key

MAX_NAMES = 100
MAX_SECRETS = 8

S = TypeVar("S", bound=Section)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def named(cls: type[S], table: Table, at: Keys, folder: Path) -> Mapping[str, S]:
    """Build the tables ``[hooks.NAME]`` or ``[webhooks.NAME]``; a single secret may stand there without a list.

    Raises:
        WrongError: Something is unknown, of the wrong type or out of range.
    """
    if len(table) > MAX_NAMES:
        raise WrongError(at, None, f"there are more than {MAX_NAMES}")
    found = {}
    for name, value in table.items():
        if not _NAME.fullmatch(name):
            hint = "use 1 to 64 characters of a-z 0-9 _ -, the first one a letter or a digit"
            raise WrongError((*at, name), None, "this is no name", hint)
        keys = dict(table_of(value, (*at, name)))
        for key in ("secret_env", "secret_file"):
            if isinstance(keys.get(key), str):
                keys[key] = [keys[key]]
        found[name] = section(cls, keys, (*at, name), folder)
    return MappingProxyType(found)


def check(config: Config) -> None:
    """Refuse what makes no sense together.

    Raises:
        WrongError: The first such thing.
    """
    for name, hook in config.hooks.items():
        _check_secrets(("hooks", name), hook)
        _check_hook(("hooks", name), hook, config)
    for name, webhook in config.webhooks.items():
        _check_secrets(("webhooks", name), webhook)
        try:
            urls.read(webhook.url)
        except UrlRefused as error:
            hint = error.hint or 'write for example "https://example.com/hook"'
            raise WrongError(("webhooks", name), "url", error.message, hint) from None
        for event in webhook.events:
            if event not in EVENTS:
                what = f"there is no event {event[:80]!r}"
                raise WrongError(("webhooks", name), "events", what, suggestion(event, EVENTS))


def _check_secrets(at: Keys, one: Hook | Webhook) -> None:
    if not one.secret_env and not one.secret_file:
        hint = 'write secret_env = "THE_NAME_OF_A_VARIABLE", or secret_file'
        raise WrongError(at, None, "it has no secret", hint)
    if len(one.secret_env) + len(one.secret_file) > MAX_SECRETS:
        raise WrongError(at, None, f"it has more than {MAX_SECRETS} secrets")
    for name in one.secret_env:
        if not _VARIABLE.fullmatch(name):
            hint = "write the name of the variable, never the secret itself"
            raise WrongError(at, "secret_env", "this is no name of an environment variable", hint)


def _check_hook(at: Keys, hook: Hook, config: Config) -> None:
    if hook.agent and hook.agent not in config.agents:
        hint = suggestion(hook.agent, config.agents)
        raise WrongError(at, "agent", f"there is no agent {hook.agent[:80]!r}", hint)
    known = [tool for tool in TOOLS if config.model.provider == OFFLINE or tool not in OFFLINE_TOOLS]
    for tool in hook.tools or ():
        if tool not in known:
            raise WrongError(at, "tools", f"there is no tool {tool[:80]!r}", suggestion(tool, known))
    try:
        template.parse(hook.template)
    except ValueError as error:
        raise WrongError(at, "template", str(error)) from None
    _check_session(at, hook)


def _check_session(at: Keys, hook: Hook) -> None:
    place, _, key = hook.session.partition(":")
    if hook.session != "isolated" and not (place == "chat" and key):
        hint = 'write "isolated", or "chat:KEY" for a chat'
        raise WrongError(at, "session", f"{hook.session[:80]!r} is no place for a message", hint)
    if key:
        try:
            session_key(key)
        except BadRequest as error:
            raise WrongError(at, "session", error.message, error.hint) from None
        if hook.tools is not None:
            hint = "in a chat, what came from outside never has more than the tools that only read"
            raise WrongError(at, "tools", "an isolated session alone may have more tools", hint)
