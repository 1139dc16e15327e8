"""What a scripted model server is told to answer, in whichever dialect."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

WAIT_S = 20.0
MURMUR_S = 0.05  # between two murmurs
PIECES = 4  # how many pieces a streamed text comes in

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one request is answered."""

    text: str = ""
    #: (thought, signature), told before the text; without a thought the signature stands for a redacted one
    thoughts: Sequence[tuple[str, str]] = ()
    #: (call_id, tool, arguments)
    calls: Sequence[tuple[str, str, str]] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: sent as it stands, instead of a completion
    body: str | None = None
    content_type: str = "application/json"
    #: by default what fits the calls
    finish_reason: str | None = None
    #: of the tokens that were read, as OpenAI tells them
    cached_tokens: int = 0
    #: how many were read, as OpenAI tells them; None is some small number
    read_tokens: int | None = None
    #: an error that is sent inside the stream, instead of its end
    trouble: Json | None = None
    #: waited for before the last piece of the text
    gate: threading.Event | None = None
    #: sent again and again, so many times before all else, and for ever where the reply hangs
    murmur: str = ""
    murmurs: int = 0
    #: ``cut`` ends the stream in good order but without a finish reason, ``torn`` breaks the connection,
    #: ``hang`` says nothing more until the client hangs up, ``linger`` (OpenAI) the same after the finish reason
    end: Literal["whole", "cut", "torn", "hang", "linger"] = "whole"


def pieces(reply: Reply) -> Iterator[str]:
    """Yield the text in a few pieces, the last one not before the gate is open."""
    size = max(1, -(-len(reply.text) // PIECES))
    for start in range(0, len(reply.text), size):
        if reply.gate is not None and start + size >= len(reply.text):
            reply.gate.wait(WAIT_S)
        yield reply.text[start : start + size]
