"""Reads the secrets that webhooks are signed with from where the configuration says that they lie."""

import os
from collections.abc import Sequence
from pathlib import Path

from tidegate import signature
from tidegate.errors import ConfigError

MAX_FILE_BYTES = 16 * 1024
HINT = 'make one with: echo "whsec_$(openssl rand -base64 32)"'


def read(place: str, variables: Sequence[str], files: Sequence[Path]) -> Sequence[bytes]:
    """Return every secret that the section *place* names, those of variables first.

    Raises:
        ConfigError: One is missing, or is none.
    """
    return [
        *(
            _secret(_of_variable(place, name), f"{place} secret_env: the value of {name!r}")
            for name in variables
        ),
        *(_secret(_of_file(place, path), f"{place} secret_file: {str(path)!r}") for path in files),
    ]


def _secret(text: str, what: str) -> bytes:
    try:
        return signature.secret(text)
    except ValueError as error:
        raise ConfigError(f"{what} is no secret: {error}", hint=HINT) from None


def _of_variable(place: str, name: str) -> str:
    text = os.environ.get(name, "").strip()
    if not text:
        hint = "set it where the gateway starts, or use secret_file"
        raise ConfigError(f"{place} secret_env: the environment variable {name!r} is not set", hint=hint)
    return text


def _of_file(place: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "write the secret, and nothing else, into this file"
        raise ConfigError(f"{place} secret_file: {str(path)!r} cannot be read", hint=hint) from error
