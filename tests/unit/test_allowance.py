from collections.abc import Mapping
from pathlib import Path

import pytest

from tidegate.runtime.allowance import DEFAULT_BYTES, address_bytes, default_bytes, memory_bytes

MIB = 1 << 20


def allowed(tmp_path: Path, told: str, files: Mapping[str, str]) -> int | None:
    """Return the limit that a process is told in these files."""
    for name, text in files.items():
        path = tmp_path / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "cgroup").write_text(told)
    return memory_bytes(tmp_path / "cgroup", tmp_path / "mounted")


@pytest.mark.parametrize(
    ("told", "files", "limit"),
    [
        ("0::/\n", {"memory.max": f"{256 * MIB}\n"}, 256 * MIB),
        (
            "0::/a/b\n",
            {"a/b/memory.max": "max\n", "a/memory.max": f"{300 * MIB}\n", "memory.max": "max\n"},
            300 * MIB,
        ),
        ("0::/a/b\n", {"a/b/memory.max": f"{200 * MIB}\n", "a/memory.max": f"{300 * MIB}\n"}, 200 * MIB),
        ("0::/not/here\n", {"memory.max": f"{64 * MIB}\n"}, 64 * MIB),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {}, None),
        ("", {"memory.max": "1\n"}, None),
        ("nonsense\n", {"memory.max": f"{MIB}\n"}, None),
        ("4:memory:/docker/x\n0::/\n", {"memory/memory.limit_in_bytes": f"{128 * MIB}\n"}, 128 * MIB),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{128 * MIB}\n"}, 128 * MIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        (
            "4:memory:/a\n0::/b\n",
            {"memory/a/memory.limit_in_bytes": f"{9 * MIB}", "unified/b/memory.max": f"{8 * MIB}"},
            8 * MIB,
        ),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "no number"}, None),
        ("4:cpuset:/a\n", {"memory/a/memory.limit_in_bytes": f"{MIB}"}, None),
    ],
)
def test_what_the_machine_allows(tmp_path: Path, told: str, files: dict[str, str], limit: int | None) -> None:
    """The least limit on the way up counts, in both versions of control groups, nested or as a container sees them."""
    assert limit == allowed(tmp_path, told, files)


def test_where_there_are_no_groups(tmp_path: Path) -> None:
    """A system without control groups allows everything."""
    assert None is memory_bytes(tmp_path / "nothing", tmp_path)


@pytest.mark.parametrize(
    ("group_bytes", "address", "limit"),
    [(None, None, DEFAULT_BYTES), (5, None, 5), (None, 8, 4), (5, 8, 4), (3, 8, 3), (8 << 30, None, 8 << 30)],
)
def test_the_default(group_bytes: int | None, address: int | None, limit: int) -> None:
    """The group's limit, half of a bounded address space, or a gigabyte where nothing is said."""
    assert limit == default_bytes(group_bytes, address)


def test_this_process_can_be_asked() -> None:
    """The files of the machine that this runs on are read without an error."""
    assert (memory_bytes() or 1) > 0
    assert (address_bytes() or 1) > 0
