"""Reads the secrets that webhooks are signed with from where the configuration says that they lie."""

from collections.abc import Sequence
from pathlib import Path

from tidegate import signature
from tidegate.config import outside
from tidegate.errors import ConfigError

HINT = 'make one with: echo "whsec_$(openssl rand -base64 32)"'


def read(place: str, variables: Sequence[str], files: Sequence[Path]) -> Sequence[bytes]:
    """Return every secret that the section *place* names, those of variables first.

    Raises:
        ConfigError: One is missing, or is none.
    """
    return [
        *(
            _secret(
                outside.of_variable(f"{place} secret_env", name, "secret_file"),
                f"{place} secret_env: the value of {name!r}",
            )
            for name in variables
        ),
        *(
            _secret(
                outside.of_file(f"{place} secret_file", path, "secret"), f"{place} secret_file: {str(path)!r}"
            )
            for path in files
        ),
    ]


def _secret(text: str, what: str) -> bytes:
    try:
        return signature.secret(text)
    except ValueError as error:
        raise ConfigError(f"{what} is no secret: {error}", hint=HINT) from None
