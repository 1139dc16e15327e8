"""Reads the key of a provider from where the configuration says that it lies; the tree never holds one."""

from pathlib import Path

from tidegate.config import outside
from tidegate.errors import ConfigError


def of_variable(place: str, name: str) -> str:
    """Return the key in an environment variable that the section *place* names.

    Raises:
        ConfigError: It is not set, or holds no key.
    """
    key = outside.of_variable(f"{place} api_key_env", name, f"{place} api_key_file")
    return _usable(key, f"{place} api_key_env: the value of {name!r}")


def of_file(place: str, path: Path) -> str:
    """Return the key in a file that the section *place* names.

    Raises:
        ConfigError: It cannot be read, or holds no key.
    """
    key = outside.of_file(f"{place} api_key_file", path, "key")
    return _usable(key, f"{place} api_key_file: {str(path)!r}")


def _usable(key: str, what: str) -> str:
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    raise ConfigError(f"{what} is no key", hint="a key is one line of visible ASCII characters")
