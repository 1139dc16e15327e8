"""Starts one program for the gateway, and sees to it that nothing of it is left.

It runs as a process of its own, between the gateway and the program, with nothing but the standard library; the
gateway starts it by its path. It has one reason to exist: whoever is killed cannot clean up, so somebody else must.

- The gateway holds the writing end of a pipe, the *lifeline*. When that closes, by choice or because the gateway was
  killed, the program and all its descendants get SIGTERM, a moment, and SIGKILL.
- Once the program has ended, whatever it left running is killed.
- On Linux, descendants that leave the process group become children of this process (it is their subreaper), so that
  they are found; and the program dies when this process does. Behind it stands a second one of its kind, to which they
  fall when the first is killed.

Limits are set here and not by a function that a threaded process would run between fork and exec, where any lock can
be held for ever. What happened is written to a second pipe, one line each: ``group PID``, then ``exit CODE``,
``signal NUMBER`` or ``error TEXT``.

Arguments: one JSON object (`lifeline`, `report`, `folder`: descriptors; `memory`, `cpu_s`, `file`: limits; `grace_s`),
then the program and its arguments.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

SUBREAPER, DEATHSIG = 36, 1  # of prctl(2)
SWEEP_S = 3.0  # how long descendants are hunted


def main() -> None:
    """Start the program, wait for its end or for the lifeline, report, and leave nothing."""
    order = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _stand_behind()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(SUBREAPER, 1)
    here = os.getpid()
    child = os.fork()
    if not child:
        _become(order, sys.argv[2:], here)
    with contextlib.suppress(OSError):  # the child does the same, whoever comes first
        os.setpgid(child, child)
    _report(order, f"group {child}")
    _let_go()
    status = _wait(child, order, woken)
    _kill_all(child)
    if os.WIFSIGNALED(status):
        _report(order, f"signal {os.WTERMSIG(status)}")
    else:
        _report(order, f"exit {os.WEXITSTATUS(status)}")


def _stand_behind() -> None:
    """Go on in a child, behind which this process stays: a program that kills the one above it meets the next one."""
    _prctl(SUBREAPER, 1)
    here = os.getpid()
    watcher = os.fork()
    if watcher:
        _let_go()
        os.waitpid(watcher, 0)
        _hunt()
        os._exit(0)
    _prctl(DEATHSIG, signal.SIGKILL)
    if os.getppid() != here:
        os._exit(1)


def _become(order: dict[str, int], argv: list[str], parent: int) -> None:
    """Turn into the program; never returns."""
    try:
        os.setpgid(0, 0)
        _prctl(DEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        os.fchdir(order["folder"])
        for limit, value in (
            (resource.RLIMIT_AS, order["memory"]),
            (resource.RLIMIT_CPU, order["cpu_s"]),
            (resource.RLIMIT_FSIZE, order["file"]),
            (resource.RLIMIT_CORE, 0),
        ):
            _lower(limit, value)
        for held in (order["lifeline"], order["report"], order["folder"]):
            os.set_inheritable(held, False)  # noqa: FBT003 - it takes no keyword
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _report(order, f"error {error.strerror}")
    except ValueError as error:
        _report(order, f"error {error}")
    os._exit(127)


def _lower(limit: int, value: int) -> None:
    """Set a limit; one that the gateway itself is under may be lower already."""
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS knows no limit of address space
        resource.setrlimit(limit, (value, value))


def _let_go() -> None:
    """Hold neither end of the program's input and output, so that they close when the program does."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def _wait(child: int, order: dict[str, int], woken: int) -> int:
    """Return how the program ended; when the lifeline closes, see to it that it does."""
    poll = select.poll()
    poll.register(order["lifeline"], select.POLLIN | select.POLLHUP)
    poll.register(woken, select.POLLIN)
    ends_at: float | None = None
    while True:
        status = _reap(child)
        if status is not None:
            return status
        if ends_at is not None and time.monotonic() >= ends_at:
            os.killpg(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        left = None if ends_at is None else max(1.0, (ends_at - time.monotonic()) * 1_000)
        for descriptor, _ in poll.poll(left):
            if descriptor == woken:
                os.read(woken, 4_096)
            else:
                poll.unregister(order["lifeline"])
                ends_at = time.monotonic() + order["grace_s"]
                with contextlib.suppress(OSError):
                    os.killpg(child, signal.SIGTERM)


def _reap(child: int) -> int | None:
    """Collect every descendant that has ended; return how the program did, if it was among them."""
    status = None
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if not ended:
            return status
        if ended == child:
            status = how


def _kill_all(child: int) -> None:
    """Kill the group at once, then what had left it."""
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    _hunt()


def _hunt() -> None:
    """Kill one generation of descendants after the other, until none is left."""
    ends_at = time.monotonic() + SWEEP_S
    while time.monotonic() < ends_at:
        _reap(0)
        orphans = _children()
        if not orphans:
            return
        for orphan in orphans:
            with contextlib.suppress(OSError):
                os.kill(orphan, signal.SIGKILL)
        time.sleep(0.002)


def _children() -> list[int]:
    """Return the processes whose parent this one is; nothing where the system does not tell."""
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs 10 ms
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _report(order: dict[str, int], text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be there any more
        os.write(order["report"], f"{text}\n".encode())


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
