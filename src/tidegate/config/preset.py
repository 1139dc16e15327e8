"""The providers that are known by name: which dialect they speak, where they are, where their key is looked for."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Dialect(StrEnum):
    """What is spoken to a provider."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Preset(NamedTuple):
    """A known provider; where `key_env` is empty no key is needed."""

    base_url: str
    key_env: str = ""
    dialect: Dialect = Dialect.OPENAI


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": Preset("https://api.openai.com/v1", "OPENAI_API_KEY"),
        "anthropic": Preset("https://api.anthropic.com", "ANTHROPIC_API_KEY", Dialect.ANTHROPIC),
        "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "google": Preset("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
        "groq": Preset("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "mistral": Preset("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        "deepseek": Preset("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "xai": Preset("https://api.x.ai/v1", "XAI_API_KEY"),
        "together": Preset("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        "fireworks": Preset("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "cerebras": Preset("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "moonshot": Preset("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        "ollama": Preset("http://127.0.0.1:11434/v1"),
        "lmstudio": Preset("http://127.0.0.1:1234/v1"),
        "llamacpp": Preset("http://127.0.0.1:8080/v1"),
        "vllm": Preset("http://127.0.0.1:8000/v1"),
    }
)
