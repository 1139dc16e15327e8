"""How long a person waits for the gateway alone: messages to chats, idle and under background work, in one run.

The model is the offline one, which answers at once, so what is measured is the way from the request to the whole
answer: two durable commits and the HTTP of both directions. The background is twelve jobs that fire each second and
two hundred sub-agents that are alive at any time, each of which works, is done and is followed by another.

Run: python bench/latency.py [--messages N]. To reach, on two free cores: p99 at most 5 ms idle and 20 ms under load;
as a ratio of the two, at most 4.
"""

import argparse
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from child import Child, compile_bytecode, folder
from report import Goal, finish, fsync_ms, percentiles, say

JOBS = 12
TREES = 20
CHILDREN = 10
WORK_S = 20  # of a sub-agent
PAUSE_S = 0.02  # between two messages of a person who types fast
PER_CHAT = 20  # messages; a longer history takes longer to read, which is another question
WARM_UP = 50

CONFIG = f"""\
[subagents]
children = {CHILDREN}
descendants = {CHILDREN}

[runs]
subagent_slots = {TREES * CHILDREN}

[lifecycle.subagent]
max_running = {2 * TREES * CHILDREN}
"""

JOB = {"prompt": "/echo tick", "every": "1h", "session": "isolated"}


class Person:
    """Somebody at a keyboard, on one connection that stays open."""

    def __init__(self, child: Child) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {child.token}"}

    def say(self, text: str, *, wait: bool = True, key: str = "person") -> float:
        """Send a message and return how many seconds its answer took."""
        started = time.perf_counter()
        path = f"/api/sessions/{key}/messages{'?wait=1' if wait else ''}"
        self._connection.request("POST", path, body=json.dumps({"text": text}), headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{response.status} {body[:200]!r}")
        return time.perf_counter() - started


def talk(child: Child, messages: int) -> list[float]:
    """Return how long each of some messages took."""
    person = Person(child)
    for _ in range(WARM_UP):
        person.say("/echo hello")
    samples = []
    for number in range(messages):
        samples.append(person.say(f"/echo {number}", key=f"person-{number // PER_CHAT}"))
        time.sleep(PAUSE_S)
    return samples


@contextmanager
def background(child: Child) -> Iterator[None]:
    """Keep the jobs firing and the sub-agents coming until the end."""
    for number in range(JOBS):
        child.ask("POST", "/api/jobs", JOB | {"name": f"job-{number}"})
    ends = threading.Event()
    threads = [
        threading.Thread(target=_fire, args=(child, ends)),
        *(threading.Thread(target=_spawn, args=(child, number, ends)) for number in range(TREES)),
    ]
    for thread in threads:
        thread.start()
    try:
        _until_alive(child)
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def _fire(child: Child, ends: threading.Event) -> None:
    while not ends.wait(1.0):
        for number in range(JOBS):
            child.ask("POST", f"/api/jobs/job-{number}/run")


def _spawn(child: Child, number: int, ends: threading.Event) -> None:
    """Let one tree after the other come; the first ones end at different times, so that all do."""
    person = Person(child)
    seconds = 1 + number % WORK_S
    while not ends.is_set():
        person.say(f"/spawn {CHILDREN} /sleep {seconds}", key=f"tree-{number}")
        seconds = WORK_S


def _until_alive(child: Child) -> None:
    """Wait until the sub-agents are there."""
    for _ in range(600):
        status = child.ask("GET", "/api/status")
        sessions = status["sessions"]
        if isinstance(sessions, dict) and sessions["subagent"]["active"] >= TREES * CHILDREN * 3 // 4:
            return
        time.sleep(0.1)
    raise RuntimeError("the sub-agents did not come")


def main() -> None:
    """Measure idle, then under background work, and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000, help="of a person, in each part")
    parser.add_argument("--folder", type=Path, help="on which disk; a temporary folder by default")
    options = parser.parse_args()
    compile_bytecode()
    with folder(options.folder) as place:
        config = place / "tidegate.toml"
        config.write_text(CONFIG)
        child = Child(place / "state", config)
        try:
            say("idle")
            idle = percentiles(talk(child, options.messages))
            cpu_s, started = child.cpu_s, time.perf_counter()
            say("under background work")
            with background(child):
                busy = percentiles(talk(child, options.messages))
                cores = (child.cpu_s - cpu_s) / (time.perf_counter() - started)
        finally:
            child.stop()
        figures = {
            "idle_ms": idle,
            "busy_ms": busy,
            "busy_cores": round(cores, 2),
            "fsync_ms": fsync_ms(place),
        }
    conditions = {
        "messages": options.messages,
        "jobs": JOBS,
        "subagents": TREES * CHILDREN,
        "durability": "FULL",
        "model": "offline",
    }
    goals = [
        Goal("p99 idle, ms", idle["p99"], 5),
        Goal("p99 busy, ms", busy["p99"], 20),
        Goal("p99 busy / idle", busy["p99"] / idle["p99"], 4),
    ]
    finish("latency", conditions, figures, goals)


if __name__ == "__main__":
    main()
