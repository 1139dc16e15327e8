"""Somebody outside who calls a hook, signing as the standard says."""

import base64
import json
import time
from collections.abc import Mapping

import httpx

from gateway_process import GatewayProcess
from tidegate import signature

KEY = b"a key of twenty-four byt"
NEW_KEY = b"its successor, a longer one"


def written(key: bytes) -> str:
    """Return a secret as it is handed out."""
    return f"whsec_{base64.b64encode(key).decode()}"


def signed(body: bytes, message_id: str, *, key: bytes = KEY, off_s: int = 0) -> dict[str, str]:
    """Return the headers of a call that is made *off_s* from now."""
    made = signature.sign([key], message_id, int(time.time()) + off_s, body)
    return {
        "webhook-id": made.id,
        "webhook-timestamp": made.timestamp,
        "webhook-signature": made.signature,
    }


def call(
    gateway: GatewayProcess,
    name: str,
    body: object,
    message_id: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Call a hook without a token; *headers* are the signature, by default the right one."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = signed(data, message_id) if headers is None else headers
    return httpx.post(f"{gateway.url}/hooks/{name}", content=data, headers=dict(headers), timeout=20.0)
