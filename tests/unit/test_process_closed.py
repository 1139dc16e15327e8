import ctypes
import os
import subprocess
import sys

import pytest

from tidegate.runtime import process

NOBODY = 65_534
DUMPABLE = 4  # of prctl(2)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="root alone can become somebody else"
)


def seen_by_a_child() -> list[bool]:
    """Say, as somebody who is not root, which files of this process a program that it starts can read."""
    found = []
    for name in ("environ", "maps", "mem", "auxv"):
        done = subprocess.run(
            ["/bin/dd", f"if=/proc/{os.getpid()}/{name}", "of=/dev/null", "count=0"],
            capture_output=True,
            check=False,
        )
        found.append(done.returncode == 0)
    return found


def test_a_child_does_not_look_into_it() -> None:
    """What it starts can read its environment and memory before, and nothing of it afterwards."""
    child = os.fork()
    if not child:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(DUMPABLE, 1, 0, 0, 0)  # as a program that was started so
            before = seen_by_a_child()
            process.close_to_others()
            after = seen_by_a_child()
            counts_files = process.open_files() is not None
            os._exit(0 if (before, after, counts_files) == ([True] * 4, [False] * 4, True) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
