import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from calling import call
from gateway_process import until
from tidegate.agent.place import Place
from tidegate.agent.shell import shell_tool
from tidegate.agent.tools import Tool
from tidegate.agent.turns import Turns

LOOPS: list[Callable[[Awaitable[None]], None]] = [asyncio.run, uvloop.run]  # type: ignore[list-item]  # their extras


def shell(folder: Path) -> list[Tool]:
    """Return the tool for a workspace."""
    return [shell_tool(Place(folder), Turns(4, 8))]


def sleepers(folder: Path) -> list[psutil.Process]:
    """Return the processes that sleep in a folder, which no other test has."""
    found = psutil.process_iter(["name", "cwd"])
    return [one for one in found if one.info["name"] == "sleep" and one.info["cwd"] == str(folder)]


@pytest.mark.parametrize("run", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["echo", "$HOME", "*", "a b"], "exit code 0\n$HOME * a b\n"),
        (["sh", "-c", "echo out; echo err >&2; exit 3"], "exit code 3\nout\nerr\n"),
        (["sh", "-c", "kill -11 $$"], "ended by signal 11 (SIGSEGV)\n"),
        (["cat"], "exit code 0\nwhat it reads"),
        (["true"], "exit code 0\n"),
    ],
)
def test_it_tells_how_a_program_ended(
    tmp_path: Path, run: Callable[[Awaitable[None]], None], argv: list[str], text: str
) -> None:
    """No shell expands the arguments; both streams come as they were written, below how the program ended."""

    async def main() -> None:
        result = await call(shell(tmp_path), "shell", argv=argv, stdin="what it reads")
        assert (result.text, result.is_error) == (text, False)

    run(main())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"argv": ["no-such-program"]},
            "'no-such-program' was not run to its end: No such file or directory",
        ),
        ({"argv": ["true"], "cwd": ".."}, "a path may not hold '..'; write it from the workspace on"),
        ({"argv": ["true"], "cwd": "none"}, "there is no 'none'; list_files shows what there is"),
        ({"argv": ["a\0b"]}, "an argument may not hold NUL, and the program has a name"),
        ({"argv": []}, "wrong arguments: Expected `array` of length >= 1 - at `$.argv`"),
        ({"argv": "ls -l"}, "wrong arguments: Expected `array`, got `str` - at `$.argv`"),
    ],
)
def test_what_cannot_be_run_is_told(tmp_path: Path, arguments: dict[str, object], text: str) -> None:
    """A program that is missing, a folder outside and arguments of another shape are errors for the model."""
    result = asyncio.run(call(shell(tmp_path), "shell", **arguments))
    assert (result.text, result.is_error) == (text, True)


def test_the_environment_is_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees a few plain variables; whatever else the gateway has in its environment stays there."""
    for name in ("TIDEGATE_TOKEN", "OPENAI_API_KEY", "GITHUB_TOKEN", "LD_PRELOAD_X", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    result = asyncio.run(call(shell(tmp_path), "shell", argv=["env"]))
    names = {line.partition("=")[0] for line in result.text.splitlines()[1:]}
    assert names <= {"PATH", "TZ", "HOME", "LANG", "TERM"}
    assert f"HOME={tmp_path}\n" in result.text


def test_it_runs_in_the_folder_it_is_told(tmp_path: Path) -> None:
    """The current folder is one of the workspace."""
    (tmp_path / "in").mkdir()
    result = asyncio.run(call(shell(tmp_path), "shell", argv=["pwd"], cwd="in"))
    assert f"exit code 0\n{tmp_path}/in\n" == result.text


@pytest.mark.parametrize("run", LOOPS, ids=["asyncio", "uvloop"])
def test_nothing_of_it_is_left(tmp_path: Path, run: Callable[[Awaitable[None]], None]) -> None:
    """What a program leaves in the background dies with it, also what left its group and session."""
    script = "sleep 7001 & setsid sleep 7001 & (setsid setsid sleep 7001 &) ; sleep 0.05; echo done"

    async def main() -> None:
        result = await call(shell(tmp_path), "shell", argv=["sh", "-c", script])
        assert "exit code 0\ndone\n" == result.text

    run(main())
    assert sleepers(tmp_path) == []


@pytest.mark.parametrize("run", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("script", ["sleep 7002 & sleep 7002", "trap '' TERM; sleep 7002 & wait; sleep 7002"])
def test_time_is_limited(tmp_path: Path, run: Callable[[Awaitable[None]], None], script: str) -> None:
    """When its time is over, the whole tree ends, whether or not it listens to SIGTERM."""

    async def main() -> None:
        result = await call(shell(tmp_path), "shell", argv=["sh", "-c", f"echo a; {script}"], timeout_s=1)
        assert "ended after 1 s, which is its timeout_s\na\n" == result.text

    run(main())
    assert sleepers(tmp_path) == []


@pytest.mark.parametrize("run", LOOPS, ids=["asyncio", "uvloop"])
def test_cancelling_ends_the_tree(tmp_path: Path, run: Callable[[Awaitable[None]], None]) -> None:
    """A cancelled run has no program of its own when it is over."""
    script = "touch up; sleep 7003 & setsid sleep 7003"

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(call(shell(tmp_path), "shell", argv=["sh", "-c", script]))
            while not (tmp_path / "up").exists():  # noqa: ASYNC110 - a program in another process tells it
                await asyncio.sleep(0.01)
            task.cancel()
        assert task.cancelled()

    run(main())
    assert sleepers(tmp_path) == []


def test_killing_its_watcher_helps_nobody(tmp_path: Path) -> None:
    """A program that kills the process above it dies with that, and so does what it had started, its group or not."""
    argv = ["sh", "-c", "sleep 7004 & setsid sleep 7004 & sleep 0.1; kill -9 $PPID; sleep 7004"]
    result = asyncio.run(call(shell(tmp_path), "shell", argv=argv))
    assert result.is_error
    assert sleepers(tmp_path) == []


def test_output_is_bounded(tmp_path: Path) -> None:
    """Of much output the beginning and the end are kept, and how much is missing is told."""
    argv = ["sh", "-c", "echo first; yes | head -c 50000000; echo last"]
    result = asyncio.run(call(shell(tmp_path), "shell", argv=argv))
    assert result.text.startswith("exit code 0\nfirst\n")
    assert result.text.endswith("last\n")
    assert "bytes left out" in result.text
    assert len(result.text) < 70_000


@pytest.mark.skipif(sys.platform != "linux", reason="macOS knows no limit of address space")
def test_memory_is_limited(tmp_path: Path) -> None:
    """A program that wants more memory than it may have does not get it."""
    result = asyncio.run(call(shell(tmp_path), "shell", argv=[sys.executable, "-c", "bytearray(5 << 30)"]))
    assert "MemoryError" in result.text


def test_files_it_writes_are_limited(tmp_path: Path) -> None:
    """A file cannot grow without end."""
    argv = ["sh", "-c", "head -c 300000000 /dev/zero > big"]
    asyncio.run(call(shell(tmp_path), "shell", argv=argv))
    assert (tmp_path / "big").stat().st_size == 256 << 20


def test_calls_leave_no_descriptor_or_child(tmp_path: Path) -> None:
    """After two hundred calls, some of which fail or run out of time, there are as many descriptors as before."""

    async def main() -> None:
        tools = [shell_tool(Place(tmp_path), Turns(8, 300))]
        await call(tools, "shell", argv=["true"])
        children = psutil.Process().children()
        before = psutil.Process().num_fds()
        async with asyncio.TaskGroup() as group:
            for at in range(200):
                argv = [["true"], ["no-such-program"], ["sh", "-c", "exit 1"], ["cat"]][at % 4]
                group.create_task(call(tools, "shell", argv=argv, stdin="x" * (at % 2)))
        assert before == psutil.Process().num_fds()
        assert children == psutil.Process().children()

    asyncio.run(main())


GATEWAY = """
import asyncio, sys
from pathlib import Path
from calling import call
from gateway_process import until
from test_shell import shell

asyncio.run(call(shell(Path(sys.argv[1])), "shell", argv=["sh", "-c", "touch up; sleep 7005 & setsid sleep 7005"]))
"""


def test_a_killed_gateway_leaves_no_program(tmp_path: Path) -> None:
    """Killed without a chance to clean up, the process that called the tool takes the whole tree along."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    ) as process:
        until(lambda: (tmp_path / "up").exists() and len(sleepers(tmp_path)) == 2)
        process.send_signal(signal.SIGKILL)
    until(lambda: not sleepers(tmp_path))
