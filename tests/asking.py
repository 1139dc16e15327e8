"""Asking a remote model in tests, in one line."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from llm_server import WAIT_S
from tidegate.agent.model import Answer, Delta, Prompt, ToolSpec
from tidegate.agent.remote import RemoteModel
from tidegate.agent.target import Target
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Body, User

KEY = "sk-a-very-secret-key"


def target(
    base_url: str,
    dialect: Dialect = Dialect.OPENAI,
    *,
    api_key: str = KEY,
    timeout_s: float = WAIT_S,
    model: str = "tiny",
) -> Target:
    """Return where a scripted provider is."""
    return Target(
        name=model, model=model, base_url=base_url, dialect=dialect, api_key=api_key, timeout_s=timeout_s
    )


@asynccontextmanager
async def opened(where: str | Target) -> AsyncIterator[RemoteModel]:
    """Open a model and close it."""
    model = RemoteModel(where if isinstance(where, Target) else target(where))
    try:
        yield model
    finally:
        await model.aclose()


def prompt(*bodies: Body, instructions: str = "", tools: Sequence[ToolSpec] = ()) -> Prompt:
    """Return a prompt, by default a greeting."""
    return Prompt(instructions=instructions, bodies=bodies or [User(text="hi")], tools=tools)


def ask(where: str | Target, question: Prompt | None = None) -> list[Delta | Answer]:
    """Ask one question and return all that came."""

    async def main() -> list[Delta | Answer]:
        async with opened(where) as model:
            return [piece async for piece in model.stream(question or prompt())]

    return asyncio.run(main())
