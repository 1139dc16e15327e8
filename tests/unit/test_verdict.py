import json
from typing import Any

import msgspec
import pytest

from tidegate.domain.session import PolicyName
from tidegate.soak import report, verdict
from tidegate.soak.course import Facts
from tidegate.soak.plan import Arrivals
from tidegate.soak.scenario import Scenario
from tidegate.soak.watch import Disk, Peak, Seen

MIB = 1 << 20
SCENARIO = Scenario(kind=PolicyName.API, sessions=20_000)
MOST_STORED = SCENARIO.most_stored(PolicyName.API, Arrivals(20_000, 64, 0))
FLAT: dict[str, Any] = {
    "born": {PolicyName.API: 20_000},
    "most_a_wave": {PolicyName.API: 64},
    "entries": 49_000,
    "shapes": {"echo": 20_000},
    "ends": {"interactive ok": 20_000},
    "readings": [],
    "astray": 0,
    "first_astray": "",
    "floors": [(5_000 + 1_500 * at, 40 * MIB) for at in range(10)],
    "growth_bytes": 0,
    "left": 0,
    "left_blobs": 0,
    "sweeps": 900,
    "passed_ms": 30 * 86_400_000,
    "wall_s": 50.0,
    "cpu_s": 40.0,
}


def seen(**changes: object) -> Seen:
    """Return what is seen of a gateway that is well, but for some changes."""
    well = Seen(
        stored={PolicyName.API: 640},
        snapshots=1,
        skills=22,
        offered_snapshots=1,
        offered_skills=22,
        containers={"session_heads": (1_000, 4 * MIB)},
        handles={name: Peak(warm_up=19, after=19) for name in ("fds", "threads", "tasks")},
        disk=Disk(main=6 * MIB, live=5 * MIB),
        log_bytes=16 * MIB,
    )
    return msgspec.structs.replace(well, **changes)


def grew(**changes: object) -> list[str]:
    """Return what grew in a run that is flat but for some changes."""
    facts = Facts(**({"seen": seen()} | FLAT | changes))
    return verdict.what_grew(verdict.judge(SCENARIO, facts))


def test_flat() -> None:
    """A run in which nothing grew is flat."""
    assert [] == grew()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"growth_bytes": 2 * MIB + 1}, "resident memory"),
        ({"left": 1}, "left sessions"),
        ({"left_blobs": 1}, "left blobs"),
        ({"astray": 1}, "astray"),
        ({"seen": seen(stored={PolicyName.API: MOST_STORED + 1})}, "stored sessions api"),
        ({"seen": seen(snapshots=2)}, "snapshots of skills"),
        ({"seen": seen(skills=23)}, "stored skills"),
        ({"seen": seen(overdue=1)}, "overdue"),
        ({"seen": seen(orphans=1)}, "orphans"),
        ({"seen": seen(disk=Disk(main=9 * MIB + 1, live=5 * MIB))}, "main file"),
        ({"seen": seen(log_bytes=64 * MIB + 1)}, "log"),
        ({"seen": seen(handles={"fds": Peak(warm_up=19, after=20)})}, "fds"),
        ({"seen": seen(handles={"tasks": Peak(warm_up=4, after=5)})}, "tasks"),
        ({"seen": seen(handles={"threads": Peak(warm_up=3, after=6)})}, "threads"),
        ({"seen": seen(containers={"running": (33, 32)})}, "container running"),
    ],
)
def test_what_grew_is_named(changes: dict[str, object], name: str) -> None:
    """Each figure above its bound is told by its name, and it alone."""
    assert [name] == grew(**changes)


def test_a_long_run_may_grow_by_a_fiftieth_of_a_kib_each() -> None:
    """Beyond a hundred thousand sessions the bound follows their number."""
    scenario = Scenario(kind=PolicyName.API, sessions=1_000_000)
    (check, *_) = verdict.judge(
        scenario, Facts(seen=seen(), **(FLAT | {"born": {PolicyName.API: 1_000_000}}))
    )

    assert 0.02 * 1_024 * 1_000_000 == check.bound


def test_the_disk_may_hold_four_mib_more_or_half_more() -> None:
    """Whichever is more of what the pages in use hold."""
    assert 5 * MIB == Disk(main=0, live=MIB).bound
    assert 150 * MIB == Disk(main=0, live=100 * MIB).bound


def test_words_and_json_say_the_same() -> None:
    """Both name what grew; the words end with the verdict, and JSON can be read back."""
    facts = Facts(seen=seen(orphans=3), **FLAT)
    checks = verdict.judge(SCENARIO, facts)
    document = json.loads(json.dumps(report.document(SCENARIO, facts, checks)))
    lines = list(report.words(SCENARIO, facts, checks))

    assert ("grew", ["orphans"]) == (document["verdict"], document["grew"])
    assert "It grew: orphans." == lines[-1]
    assert "GREW orphans: 3 of 0, rows without their owner" in lines
    assert {"durability": "FULL", "concurrency": 16, "entries_per_session": 2.45}.items() <= document[
        "conditions"
    ].items()


def test_a_run_of_one_session_has_words() -> None:
    """Where there are too few blocks for a slope, this is said."""
    facts = Facts(seen=seen(), **(FLAT | {"floors": []}))

    assert "memory: too few blocks for a slope" in list(report.words(SCENARIO, facts, []))


@pytest.mark.parametrize(
    ("wall_s", "growth_bytes", "told"),
    [
        (180.0, MIB, []),
        (
            180.0,
            3 * MIB // 2,
            ["anonymous memory"],
        ),  # a KiB of each session in the second half of three minutes
        (30.0, 3 * MIB // 2, []),
        (30.0, 9 * MIB, ["anonymous memory"]),
    ],
)
def test_real_time_has_bounds_of_its_own(wall_s: float, growth_bytes: int, told: list[str]) -> None:
    """Less is a leak where fewer sessions come, once the process had its minute to settle."""
    changes = {"wall_s": wall_s, "passed_ms": round(1_000 * wall_s), "warm_up": 0.5, "memory": "anonymous"}

    assert told == grew(**changes, is_virtual=False, growth_bytes=growth_bytes)


def test_files_that_grow_under_load_are_told() -> None:
    """In real time main file and log are judged together, beside what they were before the middle."""
    real = {"is_virtual": False, "wall_s": 180.0, "warm_up": 0.5}

    assert [] == grew(**real, seen=seen(files=Peak(warm_up=8 * MIB, after=24 * MIB)))
    assert ["files at work"] == grew(**real, seen=seen(files=Peak(warm_up=8 * MIB, after=24 * MIB + 1)))


def test_a_report_of_real_time_says_so() -> None:
    """Its time, its model and what it does not cover are not those of virtual time."""
    facts = Facts(
        **(
            {"seen": seen()}
            | FLAT
            | {
                "entries": None,
                "is_virtual": False,
                "wall_s": 180.0,
                "passed_ms": 180_000,
                "memory": "anonymous",
                "warm_up": 0.5,
            }
        )
    )
    checks = verdict.judge(SCENARIO, facts)
    document = json.loads(json.dumps(report.document(SCENARIO, facts, checks)))
    told = "\n".join(report.words(SCENARIO, facts, checks))

    assert "20,000 sessions (api) in 3 min of real time, 111 a second" in told
    assert "noticed: a leak of 97 B a session or more, over 13,500 of them" in told
    assert "virtual" not in json.dumps(document)
    assert 40 * MIB == document["memory"]["floors"][0]["anonymous_bytes"]
