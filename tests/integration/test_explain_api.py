import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from command_line import CommandLine
from gateway_process import TOKEN, WAIT_S, GatewayProcess, error_of, until

pytestmark = pytest.mark.serial

PATH = "/api/growth/explain"
CHATS = 7
LONG = f"GET {PATH}?allocations=60s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway that has taken its first sample, and then some chats."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        until(lambda: running.get("/api/growth")["names"])
        for number in range(CHATS):
            running.say(f"c{number}", "/echo hi")
        running.say("heavy", "x" * 300_000)
        yield running


def test_it_says_what_grew(gateway: GatewayProcess) -> None:
    """What came since the first sample is told in words and in figures, with the setting, at once."""
    found = gateway.get(PATH)
    (chats,) = [one for one in found["grew"] if one["part"] == "sessions"]

    assert ("chat", "count", 0, CHATS + 1) == tuple(chats[key] for key in ("name", "unit", "before", "now"))
    assert {"active": [0, CHATS + 1]} == {state: pair for state, pair in chats["states"].items() if pair[1]}
    assert "[lifecycle.chat] idle_after" == chats["setting"]
    assert chats["text"] in found["text"]
    assert [found["since"]["asked_s"], found["since"]["step_s"], found["restarts"]] == [3_600, 10, 0]
    assert "There are no older samples, so this is not the 1 h that was asked for." == found["text"][1]
    sizes = [one["about_bytes"] for one in found["grew"]]
    assert sorted(sizes, reverse=True) == sizes
    assert found["memory"]["rss_bytes"] > 20 << 20


def test_it_says_what_is_largest(gateway: GatewayProcess) -> None:
    """The heaviest session comes first; skills and tables are told, too."""
    found = gateway.get(PATH, since="5m")
    largest = found["largest"]
    tables = {table["name"]: table for table in found["tables"]}

    assert ("heavy", "chat", "active") == tuple(
        largest["sessions"][0][key] for key in ("key", "kind", "state")
    )
    assert 300_000 < largest["sessions"][0]["bytes"] < 310_000
    assert (CHATS + 1, True, []) == (largest["looked_at"], largest["is_all"], largest["jobs"])
    assert "write-a-skill" in {skill["name"] for skill in largest["skills"]}
    assert CHATS + 1 == tables["sessions"]["rows"]


def test_a_page(gateway: GatewayProcess) -> None:
    """People get the words, and tables under headings; where the group has options, they are refused."""
    line = command_line(gateway)
    told = line.run("growth", "explain", "--since", "30m")

    assert (0, "") == (told.code, told.err)
    assert told.out.startswith("Since ")
    for text in (
        "chat sessions: 0 -> 8",
        "\nlargest sessions\n",
        "\nlargest skills\n",
        "\ntables\n",
        "heavy",
    ):
        assert text in told.out
    assert {"text", "grew", "largest"} <= set(line.json("growth", "explain"))
    assert 1 == line.run("growth", "explain", "--since", "never").code
    assert 2 == line.run("growth", "--span", "1d", "explain").code


@pytest.mark.parametrize(
    "query",
    [
        {"since": "1x"},
        {"since": "0s"},
        {"since": "91d"},
        {"since": "-1h"},
        {"allocations": "yes"},
        {"allocations": "10m"},
        {"allocations": "10ms"},
    ],
)
def test_bad_input(gateway: GatewayProcess, query: dict[str, str]) -> None:
    """What makes no sense is refused, with a hint."""
    assert (400, "bad_request") == error_of(gateway.http.get(PATH, params=query))


def test_allocations(gateway: GatewayProcess) -> None:
    """What was allocated meanwhile and stays is told by line, with what telling it costs."""
    gateway.http.get(PATH, params={"since": "1m"})
    found = gateway.get(PATH, allocations="1s")["allocations"]

    assert 1 <= found["seconds"] < 15
    assert not found["is_cut"]
    assert "times as much" in found["cost"]
    assert all(set(line) == {"place", "blocks", "bytes"} for line in found["lines"])
    assert found["bytes"] >= sum(line["bytes"] for line in found["lines"])
    assert gateway.get(PATH)["allocations"] is None


def test_one_trace_at_a_time(gateway: GatewayProcess) -> None:
    """A second one is refused; the first one ends when its client goes, and then there may be another."""
    with tracing(gateway) as client:
        refused = until(lambda: _refused(gateway, client))
        assert refused is not None
        assert (409, "trace_running") == error_of(refused)
        assert gateway.get(PATH)["allocations"] is None

    assert until(lambda: gateway.http.get(PATH, params={"allocations": "1s"}).status_code == 200)


def test_a_trace_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A gateway that is told to stop while it traces tells what it has found, and stops as it always does."""
    with GatewayProcess(tmp_path / "state") as gateway, tracing(gateway) as client:
        until(lambda: _refused(gateway, client))
        assert 0 == gateway.stop()
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in gateway.log.read_text()


@contextmanager
def tracing(gateway: GatewayProcess) -> Iterator[socket.socket]:
    """Be a client that has asked for a long trace, and goes when the block is over."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as client:
        client.sendall(LONG)
        yield client


def _refused(gateway: GatewayProcess, client: socket.socket) -> httpx.Response | None:
    """Ask for the shortest trace; return the answer if it is that one goes on already.

    On a busy machine the shortest one may have come first; then the long one was refused, and is asked for again.
    """
    if select.select([client], [], [], 0)[0]:
        client.recv(1 << 16)
        client.sendall(LONG)
    found = gateway.http.get(PATH, params={"allocations": "1s"})
    return found if found.status_code == httpx.codes.CONFLICT else None


def command_line(gateway: GatewayProcess) -> CommandLine:
    """Return the command line on the gateway's folder."""
    return CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
