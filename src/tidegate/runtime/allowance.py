"""How much memory the machine leaves to this process: what its control group allows, and its address space.

A control group that says nothing may lie in one that does, so the whole way up is looked at. Inside a container the way
that the kernel tells may not be there; then what is mounted is the group itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

DEFAULT_BYTES = 1 << 30
UNLIMITED = 1 << 60  # and above: how the first version of control groups says that there is no limit
#: the file that names a group's limit, by where its hierarchy is mounted
_FILES = {"": ("memory.max", ("", "unified")), "memory": ("memory.limit_in_bytes", ("memory",))}


def memory_bytes(
    told: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the least limit of the control groups of this process; None where there is none."""
    try:
        lines = told.read_text().splitlines()
    except OSError:
        return None
    found = [limit for line in lines for file in _files(line, mounted) if (limit := _limit(file)) is not None]
    return min(found, default=None)


def address_bytes() -> int | None:
    """Return how much address space the process may have; None where that is not bounded."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not everywhere

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def limit_bytes(wanted: int | None) -> int:
    """Return how much memory this process may take; *wanted* is what is configured."""
    return default_bytes(memory_bytes(), address_bytes()) if wanted is None else wanted


def default_bytes(group: int | None, address: int | None) -> int:
    """Return the limit where nobody has set one; half of an address space goes to what is never touched."""
    found = [limit for limit in (group, address // 2 if address else None) if limit]
    return min(found, default=DEFAULT_BYTES)


def _files(line: str, mounted: Path) -> Iterator[Path]:
    """Yield where the limits of a line ``ID:CONTROLLERS:PATH`` may stand, from the group upwards."""
    _, found, rest = line.partition(":")
    controllers, found, way = rest.partition(":")
    if not found:
        return
    steps = PurePosixPath(way.lstrip("/"))
    for controller in controllers.split(","):
        name, places = _FILES.get(controller, ("", ()))
        for place in places:
            for group in (steps, *steps.parents):
                yield mounted / place / group / name


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and 0 < int(text) < UNLIMITED else None
