"""What must hold of plugins."""

import re

from tidegate.config.section import WrongError
from tidegate.config.tree import Config

MAX_PLUGINS = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check(config: Config) -> None:
    """Refuse what makes no sense together; whether plugins are installed is seen when they are loaded.

    Raises:
        WrongError: The first such thing.
    """
    at, names = ("plugins",), config.plugins.hooks
    if len(names) > MAX_PLUGINS:
        raise WrongError(at, "hooks", f"there are more than {MAX_PLUGINS}")
    for name in names:
        if not _NAME.fullmatch(name):
            hint = 'write the name of an entry point of the group "tidegate.hooks"'
            raise WrongError(at, "hooks", f"{name[:80]!r} is no name of a plugin", hint)
        if names.count(name) > 1:
            raise WrongError(at, "hooks", f"{name!r} stands there twice", "name each plugin once")
