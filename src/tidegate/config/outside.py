"""Reads what must not stand in the configuration from where it says that it lies: a variable, or a file of its own."""

import os
from pathlib import Path

from tidegate.errors import ConfigError

MAX_BYTES = 16 << 10  # of a file that holds nothing but a secret


def of_variable(place: str, name: str, instead: str) -> str:
    """Return the text of the variable that the setting *place* names, such as ``[model] api_key_env``.

    Raises:
        ConfigError: It is not set; *instead* names the setting that takes a file.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        hint = f"set it where the gateway starts, or use {instead}"
        raise ConfigError(f"{place}: the environment variable {name!r} is not set", hint=hint)
    return text


def of_file(place: str, path: Path, what: str) -> str:
    """Return the text of the file that the setting *place* names; *what* is all that may stand in it.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = f"write the {what}, and nothing else, into this file"
        raise ConfigError(f"{place}: {str(path)!r} cannot be read", hint=hint) from error
