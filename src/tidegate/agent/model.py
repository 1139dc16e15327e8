"""What the loop asks of a model, whoever provides it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

import msgspec

from tidegate.domain.entry import Body
from tidegate.domain.run import Usage


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, object]


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model: instructions, the transcript so far, the tools it may call.

    Bodies hold whole texts where the model is to read them whole; a spilled tool result keeps its preview. Every call
    is followed by its result before the next user message.
    """

    instructions: str
    bodies: Sequence[Body]
    tools: Sequence[ToolSpec] = ()
    #: what the latest message of a user is told with; apart from the instructions, so that prompts begin alike
    reminder: str = ""
    #: the answer is to be a summary of so many bytes at most; 0 for any other
    summary_bytes: int = 0


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model asks for; `arguments` is JSON text as the model wrote it, not yet checked."""

    call_id: str
    tool: str
    arguments: str


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the answer's text, as it arrives."""

    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One whole answer; the deltas before it add up to its text."""

    text: str
    calls: Sequence[ToolCall] = ()
    usage: Usage = Usage()
    #: which model answered, where several may have; empty is the one that was asked
    model: str = ""
    #: the provider's own data, for the body that this answer is kept as
    opaque: str = ""
    #: the model reached its output limit, and meant to say more
    is_cut: bool = False


class Model(Protocol):
    """Something that answers a prompt."""

    @property
    def name(self) -> str:
        """What usage is counted under, such as ``offline`` or ``gpt-5-mini``."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Yield any number of deltas, then exactly one answer.

        Raises:
            ModelBusy: Nothing of an answer has come, and asking again may help.
            ModelCut: The answer broke off after the first delta.
            ContextOverflow: The prompt is too long.
            ModelFailed: The provider refused or answered nonsense; the message is fit for a person and holds no
                secret.

        Cancellation: closes the connection to the provider at once.
        """
