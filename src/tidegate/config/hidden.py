"""Every secret that a configuration leads to, as text: what must not be written down anywhere."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tidegate.config import outside
from tidegate.config.preset import PRESETS
from tidegate.config.tree import Config, Hook, Model, Provider, Webhook
from tidegate.errors import ConfigError
from tidegate.signature import PREFIX

#: what is sent along with telemetry, ``name=value,name=value``
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def secrets(config: Config) -> Iterator[str]:
    """Yield what can be read now; whoever needs one of them says what is missing."""
    yield from _read(
        [place.api_key_env for place in _models(config)] + [preset.key_env for preset in PRESETS.values()],
        [place.api_key_file for place in _models(config) if place.api_key_file],
    )
    hooks: list[Hook | Webhook] = [*config.hooks.values(), *config.webhooks.values()]
    for hook in hooks:
        for text in _read(list(hook.secret_env), list(hook.secret_file)):
            yield text.removeprefix(PREFIX)
    for header in HEADERS:
        for pair in os.environ.get(header, "").split(","):
            yield pair.partition("=")[2].strip()


def _models(config: Config) -> list[Model | Provider]:
    return [config.model, *config.providers.values()]


def _read(variables: list[str], files: list[Path]) -> Iterator[str]:
    for name in variables:
        yield os.environ.get(name, "").strip() if name else ""
    for path in files:
        with suppress(ConfigError):
            yield outside.of_file("", path, "")
