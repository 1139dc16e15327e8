"""Which model of embeddings a configuration may name."""

from tidegate.config.preset import Dialect
from tidegate.config.section import WrongError
from tidegate.config.source import source
from tidegate.config.tree import Config


def check(config: Config) -> None:
    """Refuse a model of embeddings that cannot be asked.

    Raises:
        WrongError: It has no endpoint that speaks as OpenAI's does, or no name.
    """
    name, at = config.memory.embeddings, ("memory",)
    if not name:
        return
    found = source(config, name)
    if found.is_offline or found.dialect is not Dialect.OPENAI:
        what = f"{name[:80]!r} has no endpoint for embeddings that speaks as OpenAI's does"
        hint = 'write PROVIDER/MODEL, for example "ollama/nomic-embed-text" with a [providers.ollama] section'
        raise WrongError(at, "embeddings", what, hint)
    if not found.model:
        raise WrongError(at, "embeddings", f"{found.name!r} names no model", "write PROVIDER/MODEL")
