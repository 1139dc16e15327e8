"""The library's model for an endpoint that speaks as OpenAI does."""

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from tidegate.agent.target import Target

NO_KEY = "none"  # the client library insists on one

_PROFILE = OpenAIModelProfile(
    openai_chat_streaming_requires_finish_reason=True,
    # several in a row are refused by some servers
    openai_chat_supports_multiple_system_messages=False,
)


def open_model(target: Target, http: httpx2.AsyncClient) -> OpenAIChatModel:
    """Return a model that asks once, through *http*."""
    client = AsyncOpenAI(
        base_url=target.base_url,
        api_key=target.api_key or NO_KEY,
        http_client=http,
        timeout=http.timeout,
        max_retries=0,
    )
    return OpenAIChatModel(target.model, provider=OpenAIProvider(openai_client=client), profile=_PROFILE)
