"""A model at an address, and how it is to be asked."""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tidegate.config.preset import Dialect
from tidegate.domain.price import Price
from tidegate.errors import ConfigError

Thinking = Literal["default", "off", "low", "medium", "high"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Which model to ask, where and how; `timeout_s` is how long the provider may be silent."""

    #: what usage is counted under
    name: str
    #: the provider's name for the model
    model: str
    base_url: str
    dialect: Dialect = Dialect.OPENAI
    api_key: str = ""
    timeout_s: float = 120.0
    #: of an answer at most, told to those that insist on being told
    max_tokens: int = 16_384
    thinking: Thinking = "default"
    #: None is not known
    price: Price | None = None

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Target({self.where})"

    @property
    def where(self) -> str:
        """The model and the host for a person to read, without the login that a URL may hold."""
        return f"{self.model!r} at {self._host}"

    @property
    def identity(self) -> str:
        """Whose the data are that came from here: they go back to the same model at the same host alone."""
        return f"{self.dialect} {self._host} {self.model}"

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    def check(self) -> None:
        """Refuse an address that is none.

        Raises:
            ConfigError: `base_url` is no HTTP URL.
        """
        text = self.base_url
        try:
            url = urlsplit(text)
            is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
        except ValueError:  # of the port
            is_usable = False
        if not is_usable or " " in text:
            # it may hold a password, so it is not shown
            hint = 'write for example "http://127.0.0.1:11434/v1"'
            raise ConfigError("the base_url of the model is no URL", hint=hint)
