"""What the strictest providers refuse of a history, in both dialects.

Each rule is one of somebody's: OpenAI wants each result right after its call, Mistral and Moonshot want ids that do not
repeat and no message without content, Anthropic wants results first in the next message and text that says something.
"""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from replies import Json

MAX_ID_CHARS = 40  # OpenAI; Anthropic takes 64
MAX_NAME_CHARS = 64

_WORD = re.compile(r"[A-Za-z0-9_-]+")


def refusal(body: Json, *, is_anthropic: bool) -> str:
    """Return why a request is refused; empty if it is not."""
    messages = body.get("messages") or []
    reasons = _of_anthropic(messages) if is_anthropic else _of_openai(messages)
    return next(iter(reasons), "")


def _of_openai(messages: Sequence[Json]) -> Iterable[str]:
    if not messages or messages[-1]["role"] == "assistant":
        yield "messages: the last one must be of the user or of a tool"
    taken: set[str] = set()
    owed: list[str] = []
    for at, message in enumerate([*messages, {"role": "user", "content": "the end"}]):
        role, calls = message["role"], message.get("tool_calls") or []
        if role == "tool":
            if not owed or message["tool_call_id"] != owed.pop(0):
                yield f"messages[{at}]: a 'tool' message must follow its tool_calls"
            continue
        if owed:
            yield f"messages[{at}]: tool_call_ids did not have response messages: {owed}"
        if not ((message.get("content") or "").strip() or calls):
            yield f"messages[{at}]: {role} must have content or tool_calls"
        for call in calls:
            function = call["function"]
            yield from _of_call(call["id"], function["name"], json.loads(function["arguments"]), taken)
        owed = [call["id"] for call in calls]


def _of_anthropic(messages: Sequence[Json]) -> Iterable[str]:
    turns = list(_turns(messages))
    if not turns or {turns[0][0], turns[-1][0]} != {"user"}:
        yield "messages: the first and the last message must use the 'user' role"
    taken: set[str] = set()
    for _, blocks in turns:
        for block in blocks:
            yield from _of_block(block, taken)
    for (role, blocks), (_, after) in pairwise([("user", []), *turns, ("user", [])]):
        called = [block["id"] for block in blocks if role == "assistant" and block["type"] == "tool_use"]
        results = [block["type"] == "tool_result" for block in after]
        if [block.get("tool_use_id") for block in after[: len(called)]] != called:
            yield f"`tool_use` ids were found without `tool_result` blocks immediately after: {called}"
        if any(results[len(called) :]):
            yield "unexpected `tool_use_id` found in `tool_result` blocks"


def _turns(messages: Sequence[Json]) -> Iterable[tuple[str, list[Json]]]:
    """Yield who speaks and what; the API takes messages of one role together."""
    for role, group in groupby(messages, key=itemgetter("role")):
        yield role, [block for message in group for block in _blocks(message["content"])]


def _of_block(block: Json, taken: set[str]) -> Iterable[str]:
    match block["type"]:
        case "text" if not block["text"].strip():
            yield "text content blocks must contain non-whitespace text"
        case "thinking" if not block["signature"]:
            yield "thinking blocks need a signature"
        case "tool_use":
            yield from _of_call(block["id"], block["name"], block["input"], taken)
        case _:
            pass


def _of_call(call_id: str, name: str, arguments: object, taken: set[str]) -> Iterable[str]:
    if not _WORD.fullmatch(call_id) or len(call_id) > MAX_ID_CHARS:
        yield f"{call_id!r} is no id of a tool call"
    if call_id in taken:
        yield f"Duplicate value for 'tool_call_id': {call_id!r}"
    if not _WORD.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        yield f"{name!r} is no name of a tool"
    if not isinstance(arguments, dict):
        yield f"the arguments of the tool call {call_id!r} are no object"
    taken.add(call_id)


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
