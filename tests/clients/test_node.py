"""Clients in JavaScript as they are published, on Node: OpenAI's own and the one of the AI SDK."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client_place import REFUSED, ClientPlace, needed
from gateway_process import TOKEN

FOLDER = Path(__file__).parent / "node"
NODE_WAIT_S = 50.0  # Node loads thousands of files first
LIBRARIES = {"openai": "openai", "ai": "@ai-sdk/openai-compatible"}


def play(place: ClientPlace, library: str, scene: str) -> Any:
    """Play a scene with a library and return what was heard."""
    needed(FOLDER / "node_modules" / LIBRARIES[library])
    node = needed(Path(sys.executable).with_name("node"))
    told = os.environ | {"GATEWAY_URL": place.base_url, "GATEWAY_TOKEN": TOKEN}
    done = subprocess.run(
        [node, "client.mjs", library, scene],
        cwd=FOLDER,
        env=told,
        capture_output=True,
        timeout=NODE_WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("library", LIBRARIES)
def test_four_turns(place: ClientPlace, library: str) -> None:
    """Four streamed turns with the history that the client keeps: each answer comes alone, and is read once."""
    before = place.runs
    assert play(place, library, "turns") == ["answer 1", "answer 2", "answer 3", "answer 4"]
    assert place.runs - before == 4
    place.check_history(4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_that_leaves(place: ClientPlace, library: str) -> None:
    """A client that aborts its request is answered the next time as ever."""
    assert play(place, library, "cancel") == ["answer 1"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_error_is_not_repeated(place: ClientPlace, library: str) -> None:
    """What the provider will refuse again is raised at once: one run, one question to the model."""
    place.provider.script = [REFUSED] * 3
    before = place.runs
    assert play(place, library, "error") == {"status": 400, "code": "model_failed"}
    assert (place.runs - before, len(place.provider.requests)) == (1, 1)
