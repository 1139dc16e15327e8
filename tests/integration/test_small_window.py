"""A provider whose window is smaller than anybody has configured, with a whole gateway before it."""

import json
from pathlib import Path

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess
from llm_server import LlmServer, Reply

WINDOW = 6_000  # tokens


def config(server: LlmServer) -> str:
    """Return a configuration that says nothing of a window."""
    return f"""
[model]
provider = "box"
name = "tiny"
[providers.box]
base_url = "{server.base_url}"
"""


def test_a_window_is_learnt(tmp_path: Path) -> None:
    """The first refusal is the last one: the window holds for what follows and over a restart, and is shown."""
    with (
        LlmServer(window=WINDOW) as server,
        GatewayProcess(tmp_path / "state", config=config(server)) as gateway,
    ):
        for number in range(12):
            assert gateway.say("c", f"/echo {number} " + "word " * 400)["reply"].startswith(f"{number} word")
        assert len(server.refused) == 1
        (window,) = gateway.get("/api/status")["learnt_windows"]
        assert window["tokens"] == WINDOW
        assert window["model"].startswith("'tiny' at 127.0.0.1:")
        assert gateway.stop() == 0
        gateway.start()
        assert gateway.say("c", "/echo once more")["reply"] == "once more"
        assert len(server.refused) == 1
        assert "takes 6,000 tokens" in CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN}).run("status").out


def test_a_message_longer_than_the_window(tmp_path: Path) -> None:
    """The model reads its beginning and its end, with a mark between; so it does of a result of a tool."""
    with (
        LlmServer(window=WINDOW) as server,
        GatewayProcess(tmp_path / "state", config=config(server)) as gateway,
    ):
        text = "/echo begins " + "x" * 60_000 + " ends"
        reply = gateway.say("c", text)["reply"]
        assert reply.startswith("begins xxx")
        assert reply.endswith("xxx ends")
        assert "bytes are left out here: this is longer than the model can read at once" in reply
        assert gateway.texts("c")[0] == text
        calls = [("call_1", "say", json.dumps({"text": "y" * 50_000}))]
        server.script = [Reply(calls=calls), Reply(text="done")]
        assert gateway.say("d", "call it")["reply"] == "done"


def test_a_nearly_full_window_is_compacted(tmp_path: Path) -> None:
    """`/compact` works where hardly more than the transcript itself fits, quoted as it is for the summary."""
    with (
        LlmServer(window=WINDOW) as server,
        GatewayProcess(tmp_path / "state", config=config(server) + f"context_window = {WINDOW}\n") as gateway,
    ):
        for number in range(6):
            gateway.say("c", f"/echo {number} " + '"quoted\\" ' * 90)
        refused = len(server.refused)
        assert "entries are now a summary" in gateway.say("c", "/compact")["reply"]
        assert len(server.refused) == refused
