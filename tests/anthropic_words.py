"""A reply as Anthropic streams it.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain

from replies import Json, Reply, pieces

#: a block as it starts, and the deltas that fill it
Block = tuple[Json, Iterator[Json]]


def events(reply: Reply) -> Iterator[str]:
    """Yield the events of a stream, as text."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    yield _event("message_start", message={**head, "stop_reason": None, "usage": usage})
    yield _event("ping")
    blocks = list(_blocks(reply))
    for index, (block, deltas) in enumerate(blocks):
        yield _event("content_block_start", index=index, content_block=block)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        if reply.end == "whole" or index < len(blocks) - 1:
            yield _event("content_block_stop", index=index)
    if reply.trouble:
        yield f"event: error\ndata: {json.dumps(reply.trouble)}\n\n"
    elif reply.end == "whole":
        delta = {"stop_reason": reply.finish_reason or ("tool_use" if reply.calls else "end_turn")}
        yield _event("message_delta", delta=delta, usage={"output_tokens": 7})
        yield _event("message_stop")


def _blocks(reply: Reply) -> Iterator[Block]:
    for thought, signature in reply.thoughts:
        if not thought:
            yield {"type": "redacted_thinking", "data": signature}, iter(())
            continue
        said = ({"type": "thinking_delta", "thinking": part} for part in _halves(thought))
        signed = {"type": "signature_delta", "signature": signature}
        yield {"type": "thinking", "thinking": "", "signature": ""}, chain(said, [signed])
    if reply.text:
        texts = ({"type": "text_delta", "text": piece} for piece in pieces(reply))
        yield {"type": "text", "text": ""}, texts
    for call_id, tool, arguments in reply.calls:
        written = ({"type": "input_json_delta", "partial_json": part} for part in _halves(arguments))
        yield {"type": "tool_use", "id": call_id, "name": tool, "input": {}}, written


def _halves(text: str) -> Sequence[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _event(kind: str, **more: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"
