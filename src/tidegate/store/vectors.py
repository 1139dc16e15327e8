"""Where the extension lies that compares vectors inside the database; asked for only where vectors are wanted."""

from tidegate.errors import ConfigError
from tidegate.extras import how_to_install


def extension() -> str:
    """Return the file of the extension.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import sqlite_vec  # type: ignore[import-untyped]  # noqa: PLC0415 - untyped; an extra, which most do not have
    except ImportError as error:
        raise ConfigError(
            "[memory] embeddings needs what is not installed", hint=how_to_install("vectors")
        ) from error
    return str(sqlite_vec.loadable_path())
