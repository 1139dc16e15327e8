from collections.abc import Mapping

import pytest

from tidegate.bounded import Gauge
from tidegate.config import Lifecycle
from tidegate.domain.explanation import Bounds, Change, Readings, grown, summed
from tidegate.domain.policy import DEFAULTS, policies
from tidegate.domain.session import Kind, PolicyName, State

MB = 1 << 20
NOTHING = {f"sessions.{kind}.{state}": 0 for kind in Kind for state in State} | {
    f"sessions.{kind}_bytes": 0 for kind in Kind
}
BOUNDS = Bounds(DEFAULTS, {}, ())

Values = Mapping[str, int]


def changes(before: Values, now: Values, bounds: Bounds = BOUNDS) -> list[Change]:
    """Return what grew within one life of the process."""
    then = {**NOTHING, **before}
    return grown(Readings(then, then, {**NOTHING, **now}), bounds)


def texts(before: Values, now: Values, bounds: Bounds = BOUNDS) -> list[str]:
    """Return that in words."""
    return [change.text for change in changes(before, now, bounds)]


def test_sessions_by_kind_and_state() -> None:
    """How many more of a kind there are, what they take, in which states, how long they stay by which setting."""
    before = {"sessions.cron.archived": 400, "sessions.cron.completed": 12, "sessions.cron_bytes": 5 * MB}
    now = {"sessions.cron.archived": 1_950, "sessions.cron.completed": 30, "sessions.cron_bytes": 36 * MB}
    (change,) = changes(before, now)

    assert (
        "cron sessions: 412 -> 1,980, +31.0 MB on disk (completed 12 -> 30, archived 400 -> 1,950); "
        "archived ones stay 30 d (failed ones 90 d): [lifecycle.cron] delete_after"
    ) == change.text
    assert ("sessions", "cron", "count", 412, 1_980) == change_of(change)
    assert "[lifecycle.cron] delete_after" == change.setting
    assert {"completed": (12, 30), "archived": (400, 1_950)} == {
        state: pair for state, pair in change.states.items() if pair != (0, 0)
    }


def change_of(change: Change) -> tuple[str, str, str, int, int]:
    """Return what has changed, and by how much."""
    return change.part, change.name, change.unit, change.before, change.now


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ("cron.completed", "archived after 1 h: [lifecycle.cron] archive_after"),
        ("subagent.active", "ended after 2 h at most: [lifecycle.subagent] max_runtime"),
        ("chat.active", "archived 30 d after the last message: [lifecycle.chat] idle_after"),
        ("chat.archived", "archived ones stay for ever: [lifecycle.chat] delete_after"),
        ("hook.archived", "archived ones stay 14 d: [lifecycle.hook] delete_after"),
        ("api.completed", "archived at once: [lifecycle.api] archive_after"),
    ],
)
def test_the_state_that_grew_names_the_setting(series: str, words: str) -> None:
    """Each state is left by a setting of its own, told with what it is."""
    (text,) = texts({}, {f"sessions.{series}": 3})

    assert words == text.split("; ")[1]


def test_a_chat_that_is_never_archived() -> None:
    """What is set to never is told as that."""
    bounds = Bounds(policies({"chat": Lifecycle(idle_after_ms=None)}), {}, ())

    assert "never archived: [lifecycle.chat] idle_after" in texts({}, {"sessions.chat.active": 1}, bounds)[0]


def test_of_two_policies_the_one_that_has_more() -> None:
    """Sessions of the API that have a name live longer, and by another setting."""
    bounds = BOUNDS._replace(
        sessions={(PolicyName.API_NAMED, State.ARCHIVED): 5, (PolicyName.API, State.ARCHIVED): 2}
    )

    assert "[lifecycle.api_named] delete_after" in texts({}, {"sessions.api.archived": 7}, bounds)[0]


def test_as_many_that_hold_more() -> None:
    """Sessions whose number stays, or falls, and whose transcripts grow, are told, too."""
    before = {"sessions.chat.active": 12, "sessions.chat_bytes": 1 * MB}

    assert [
        ["chat sessions: 12 -> 12, +4.0 MB on disk"],
        ["chat sessions: 12 -> 10, +4.0 MB on disk (active 12 -> 10)"],
    ] == [
        [
            text.split("; ")[0]
            for text in texts(before, {"sessions.chat.active": count, "sessions.chat_bytes": 5 * MB})
        ]
        for count in (12, 10)
    ]


def test_most_first() -> None:
    """Changes are ordered by about how many bytes they are, whatever they are counted in."""
    before = {"main_bytes": 10 * MB, "blob_bytes": 0, "runs.cron.done": 5, "receipts": 9, "tasks": 3}
    now = {"main_bytes": 14 * MB, "blob_bytes": 9 * MB, "runs.cron.done": 5_005, "receipts": 10, "tasks": 103}
    names = [change.name for change in changes(before, now)]
    sizes = [change.about_bytes for change in changes(before, now)]

    assert ["blob_bytes", "main_bytes", "runs", "tasks", "receipts"] == names
    assert sorted(sizes, reverse=True) == sizes


def test_settings_are_those_of_the_kind_that_grew_most() -> None:
    """What the file holds is told with the setting of the sessions that made it grow."""
    now = {
        "sessions.api_bytes": MB,
        "sessions.api.archived": 10,
        "main_bytes": 20 * MB,
        "sessions.hook_bytes": 9 * MB,
        "sessions.hook.archived": 90,
        "segment_bytes": 10 * MB,
    }
    found = {change.name: change.setting for change in changes({"main_bytes": MB, "segment_bytes": 0}, now)}

    assert ["main_bytes", "segment_bytes", "hook", "api"] == list(found)
    assert "[lifecycle.api] delete_after" == found.pop("api")
    assert {"[lifecycle.hook] delete_after"} == set(found.values())


def test_text_that_is_not_compressed() -> None:
    """It is what sessions hold less what is compressed; when that happens depends on the kind."""
    before = {"segment_bytes": 0}
    now = {"sessions.chat.active": 1, "sessions.chat_bytes": 3 * MB, "segment_bytes": MB}
    found = {change.name: change for change in changes(before, now)}

    assert 2 * MB == found["entries_bytes"].now
    assert "[lifecycle.chat] idle_after" == found["entries_bytes"].setting


def test_nothing_grew() -> None:
    """What only breathes, shrinks or was not measured before is no growth."""
    before = {
        "rss_bytes": 90 * MB,
        "wal_bytes": 0,
        "tasks": 10,
        "sessions.cron.archived": 9,
        "receipts": 7,
        "loop_lag_us": 9,
    }
    now = {
        "rss_bytes": 90 * MB + 900_000,
        "wal_bytes": 16 * MB,
        "tasks": 14,
        "sessions.cron.archived": 8,
        "receipts": 0,
        "loop_lag_us": 9_000_000,
        "files": 400,
    }

    assert [] == texts(before, now)


def test_a_container_with_what_happens_when_it_is_full() -> None:
    """Bytes are told as bytes, entries as entries; a hundredth of the bound is not worth a word."""
    gauges = (
        Gauge("heads", 0, 4 * MB, is_bytes=True, when_full="the oldest goes"),
        Gauge("streams", 0, 20_000),
        Gauge("calls", 0, 16),
    )
    now = {"container.heads": 2 * MB, "container.streams": 199, "container.calls": 3, "container.gone": 99}

    assert [
        "cache heads: 0 B -> 2.0 MB; 4.0 MB at most; when full, the oldest goes",
        "container calls: 0 -> 3; 16 at most",
    ] == texts(dict.fromkeys(now, 0), now, Bounds(DEFAULTS, {}, gauges))


def test_a_series_that_nobody_has_described() -> None:
    """What a later part measures is told by its name."""
    now = {"shells": 1_204, "shell_index_bytes": 2 * MB}

    assert ["shell index bytes: 0 B -> 2.0 MB", "shells: 4 -> 1,204"] == texts(
        {"shells": 4, "shell_index_bytes": 0}, now
    )


def test_the_store_is_told_with_its_bounds() -> None:
    """What the budget on the disk is about, and what agents remember, name the setting that changes it."""
    found = texts({"live_bytes": 0, "fact_bytes": 0}, {"live_bytes": 9 * MB, "fact_bytes": 2 * MB})

    live = "what is in use of the store: 0 B -> 9.0 MB; `limits.disk` bounds it; what is kept for less time takes less"
    facts = "texts of facts that agents remember: 0 B -> 2.0 MB; the least valuable makes room for a new one"
    assert [f"{live}: [lifecycle.chat] delete_after", f"{facts}: [memory] max_facts"] == found


def test_what_the_process_holds_is_compared_with_its_start() -> None:
    """Across a restart memory and containers began anew, and what is stored did not."""
    before = {"rss_bytes": 500 * MB, "receipts": 5}
    started = {"rss_bytes": 50 * MB, "receipts": 50}
    found = grown(Readings(before, started, NOTHING | {"rss_bytes": 80 * MB, "receipts": 60}), BOUNDS)

    assert [("rss_bytes", 50 * MB, 80 * MB), ("receipts", 5, 60)] == [
        (change.name, change.before, change.now) for change in found
    ]


def test_sums() -> None:
    """Rows of one table are one number, whatever lane or state they are in."""
    values = {"runs.cron.done": 2, "runs.interactive.queued": 3, "outbox.dead": 1, "tasks": 4}

    assert {"runs": 5, "outbox": 1, "tasks": 4} == summed(values)
