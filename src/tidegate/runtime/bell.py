"""Waits that are woken by an event and poll as a safety net."""

import asyncio


async def ring_or(bell: asyncio.Event, seconds: float) -> None:
    """Return when the bell rings, or after *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return
