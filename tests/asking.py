"""Asking a remote model in tests, in one line."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from llm_server import WAIT_S
from tidegate.agent.model import Answer, Delta, Prompt, ToolSpec
from tidegate.agent.remote import RemoteModel
from tidegate.domain.entry import Body, User

KEY = "sk-a-very-secret-key"


@asynccontextmanager
async def opened(
    base_url: str, *, api_key: str = KEY, timeout_s: float = WAIT_S
) -> AsyncIterator[RemoteModel]:
    """Open a model and close it."""
    model = RemoteModel("tiny", base_url=base_url, api_key=api_key, timeout_s=timeout_s)
    try:
        yield model
    finally:
        await model.aclose()


def prompt(*bodies: Body, instructions: str = "", tools: Sequence[ToolSpec] = ()) -> Prompt:
    """Return a prompt, by default a greeting."""
    return Prompt(instructions=instructions, bodies=bodies or [User(text="hi")], tools=tools)


def ask(
    base_url: str, question: Prompt | None = None, *, api_key: str = KEY, timeout_s: float = WAIT_S
) -> list[Delta | Answer]:
    """Ask one question and return all that came."""

    async def main() -> list[Delta | Answer]:
        async with opened(base_url, api_key=api_key, timeout_s=timeout_s) as model:
            return [piece async for piece in model.stream(question or prompt())]

    return asyncio.run(main())
