"""From the name that an agent gives a model to the provider that has it."""

from collections.abc import Sequence

from tidegate.config import key
from tidegate.config.preset import PRESETS, Preset
from tidegate.config.tree import OFFLINE, Agent, Config, Provider, default_reserve

OWN = Preset("")  # an endpoint of one's own, which speaks as OpenAI does


class Source:
    """A *model* of a *provider*, and what it takes to ask it."""

    def __init__(self, config: Config, provider: str, model: str, *, name: str) -> None:
        own = config.providers.get(provider)
        self._section = own or _of_model(config)
        self._place = f"[providers.{provider}]" if own else "[model]"
        self._preset = PRESETS.get(self._section.type or provider, OWN)
        self.provider = provider
        self.model = model
        #: what its usage is counted under: as the configuration names it
        self.name = name
        #: the preset that is spoken to
        self.type = self._section.type or provider
        self.is_offline = OFFLINE in {provider, name}
        self.dialect = self._preset.dialect
        self.base_url = self._section.base_url or self._preset.base_url
        self.timeout_ms = self._section.timeout_ms
        self.window, self.reserve = _room(config, self._section)

    def api_key(self) -> str:
        """Return the key, empty where none is needed.

        The variable that a provider is known for is looked at for that provider's own address alone, so that no
        other one gets its key.

        Raises:
            ConfigError: It is missing or unusable.
        """
        section = self._section
        if section.api_key_env:
            return key.of_variable(self._place, section.api_key_env)
        if section.api_key_file:
            return key.of_file(self._place, section.api_key_file)
        if self._preset.key_env and self.base_url == self._preset.base_url:
            return key.of_variable(self._place, self._preset.key_env)
        return ""


def sources(config: Config, agent: Agent) -> Sequence[Source]:
    """Return the model of an agent and those that take its place, in order, each once."""
    model = config.model
    first = (
        source(config, agent.model)
        if agent.model
        else Source(config, model.provider, model.name, name=model.name or OFFLINE)
    )
    found: dict[tuple[str, str], Source] = {}
    for one in (first, *(source(config, reference) for reference in agent.fallbacks)):
        found.setdefault((one.provider, one.model), one)
    return list(found.values())


def source(config: Config, reference: str) -> Source:
    """Return what ``PROVIDER/MODEL`` means, or the name of a model at the provider of ``[model]``.

    What stands before the first slash is a provider only where a ``[providers.NAME]`` section has this name, since
    some providers have slashes in the names of their models.
    """
    head, slash, rest = reference.partition("/")
    if slash and head in config.providers:
        return Source(config, head, rest, name=reference)
    return Source(config, config.model.provider, reference, name=reference)


def _room(config: Config, section: Provider) -> tuple[int, int]:
    """Return the window and the part of it that is kept for the answer, in tokens."""
    if isinstance(section.context_window, int):
        window, reserve = section.context_window, default_reserve(section.context_window)
    else:
        window, reserve = config.model.context_window, config.model.reserve
    return window, section.reserve if isinstance(section.reserve, int) else reserve


def _of_model(config: Config) -> Provider:
    """Return the provider that ``[model]`` itself describes."""
    model = config.model
    return Provider(
        type=model.provider,
        base_url=model.base_url,
        api_key_env=model.api_key_env,
        api_key_file=model.api_key_file,
        timeout_ms=model.timeout_ms,
    )
