"""The library's model for Anthropic's own API."""

import httpx2
from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from tidegate.agent.target import Target

NO_KEY = "none"  # any key that is given keeps the client from looking for another one


def open_model(target: Target, http: httpx2.AsyncClient) -> AnthropicModel:
    """Return a model that asks once, through *http*."""
    client = AsyncAnthropic(
        # the client adds the version to the path itself
        base_url=target.base_url.rstrip("/").removesuffix("/v1"),
        api_key=target.api_key or NO_KEY,
        http_client=http,
        timeout=http.timeout,
        max_retries=0,
    )
    return AnthropicModel(target.model, provider=AnthropicProvider(anthropic_client=client))
