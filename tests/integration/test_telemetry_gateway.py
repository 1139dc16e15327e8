import subprocess
import sys
from pathlib import Path

from gateway_process import GatewayProcess, environment
from otlp_collector import OtlpCollector


def spans(running: GatewayProcess) -> list[str]:
    """Return what the metrics say of spans."""
    lines = running.http.get("/metrics").text.splitlines()
    return [
        line
        for line in lines
        if line.startswith(("tidegate_telemetry_spans_total{", "tidegate_container_entries"))
    ]


def test_a_gateway_sends_its_spans(tmp_path: Path) -> None:
    """Runs, requests and tools of a whole gateway arrive at a collector, at the latest when it stops."""
    with OtlpCollector() as place:
        config = f'[telemetry]\notlp_endpoint = "{place.url}"\n'
        with GatewayProcess(tmp_path / "state", config=config) as running:
            running.say("chat:1", "/echo a secret")
            running.say("chat:1", "/big 10")
            assert any('name="telemetry_spans"' in line for line in spans(running))
    assert [span.name for span in place.named("invoke_agent")] == ["invoke_agent main"] * 2
    assert {span.name for span in place.named("chat")} == {"chat offline"}
    assert {span.name for span in place.named("execute_tool")} == {"execute_tool emit"}
    assert {span.attributes["gen_ai.provider.name"] for span in place.named("chat")} == {"tidegate"}
    assert b"secret" not in place.raw


def test_a_collector_that_is_away(tmp_path: Path) -> None:
    """A gateway starts, answers and stops without it."""
    with OtlpCollector() as place:
        pass
    with GatewayProcess(
        tmp_path / "state", config=f'[telemetry]\notlp_endpoint = "{place.url}/v1/traces"\n'
    ) as running:
        assert running.say("chat:1", "/echo hi")["reply"] == "hi"


def test_nothing_is_loaded_without_it(tmp_path: Path) -> None:
    """A gateway without telemetry and plugins imports neither the library nor what finds entry points."""
    code = """
import asyncio, sys
from pathlib import Path
from tidegate import app, config, engine
from tidegate.clock import SystemClock

async def main():
    async with engine.engine(config.Config(), Path(sys.argv[1]), SystemClock()) as inside:
        assert inside.spans == {}
    print(sorted(name for name in sys.modules if name.split(".")[0] in {"opentelemetry", "requests", "google"}))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state")],
        capture_output=True,
        text=True,
        check=False,
        env=environment({}),
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
