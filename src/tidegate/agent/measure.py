"""How long a prompt is, in tokens: as the provider last counted it, and estimated from there on."""

from collections.abc import Sequence

from tidegate.agent.model import Prompt, ToolSpec
from tidegate.domain.entry import Assistant, Body, Call, opaque_of, tokens_of

BYTES_PER_TOKEN = 4  # a rough rule for English; providers count for real
ENTRY_TOKENS = 8  # what a message takes beside its text


def size(body: Body) -> int:
    """Return how many bytes of a prompt a body takes."""
    return text_size(body.text) + len(opaque_of(body)) + ENTRY_TOKENS * BYTES_PER_TOKEN


def text_size(text: str) -> int:
    """Return how many bytes a text has."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def prompt_tokens(prompt: Prompt) -> int:
    """Return how many tokens a whole prompt may have, for a provider that does not count."""
    told = text_size(prompt.instructions) + text_size(prompt.reminder) + tools_size(prompt.tools)
    return (told + sum(map(size, prompt.bodies))) // BYTES_PER_TOKEN


def tools_size(tools: Sequence[ToolSpec]) -> int:
    """Return how many bytes of a prompt tools take."""
    return sum(text_size(f"{tool.name}{tool.description}{tool.parameters}") for tool in tools)


def tokens(beside_bytes: int, bodies: Sequence[Body]) -> int:
    """Return how many tokens a prompt has; what a provider counted holds for everything before it.

    *beside_bytes* is what instructions and tools take, which the provider has counted as well.
    """
    counted = next((at for at in reversed(range(len(bodies))) if tokens_of(bodies[at])), None)
    if counted is None:
        return (beside_bytes + sum(map(size, bodies))) // BYTES_PER_TOKEN
    rest = counted + 1
    while rest < len(bodies) and isinstance(bodies[rest], Assistant | Call):
        rest += 1  # of the same answer
    return tokens_of(bodies[counted]) + sum(map(size, bodies[rest:])) // BYTES_PER_TOKEN
