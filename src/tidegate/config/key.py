"""Reads the key of a provider from where the configuration says that it lies; the tree never holds one."""

import os
from pathlib import Path

from tidegate.errors import ConfigError

MAX_KEY_BYTES = 16 * 1024  # of a file that holds a secret


def of_variable(place: str, name: str) -> str:
    """Return the key in an environment variable that the section *place* names.

    Raises:
        ConfigError: It is not set, or holds no key.
    """
    key = os.environ.get(name, "").strip()
    if not key:
        hint = f"set it where the gateway starts, or use {place} api_key_file"
        raise ConfigError(f"{place} api_key_env: the environment variable {name!r} is not set", hint=hint)
    return _usable(key, f"{place} api_key_env: the value of {name!r}")


def of_file(place: str, path: Path) -> str:
    """Return the key in a file that the section *place* names.

    Raises:
        ConfigError: It cannot be read, or holds no key.
    """
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the key, and nothing else, into this file"
        raise ConfigError(f"{place} api_key_file: {str(path)!r} cannot be read", hint=hint) from error
    return _usable(key, f"{place} api_key_file: {str(path)!r}")


def _usable(key: str, what: str) -> str:
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    raise ConfigError(f"{what} is no key", hint="a key is one line of visible ASCII characters")
