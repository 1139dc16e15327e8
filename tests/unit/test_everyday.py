import pytest

from tidegate.clock import DAY_MS, HOUR_MS
from tidegate.config.job import problem
from tidegate.domain.policy import policies
from tidegate.domain.session import PolicyName
from tidegate.soak import shelf
from tidegate.soak.everyday import GAP_MS, JOBS, MAX_KEPT_MS, Everyday
from tidegate.soak.plan import Arrivals, littles_law

BIG = Everyday(wanted=20_000)


def test_there_are_22_skills_of_41_kb() -> None:
    """As many and as large as it is told, each of its own."""
    texts = shelf.skills()

    assert (22, 41_000) == (len(set(texts.values())), sum(map(len, texts.values())))


def test_there_are_12_jobs_and_half_of_them_spawn() -> None:
    """All of them make sense, and their names differ."""
    assert [None] * 12 == [problem(job) for job in JOBS]
    assert 12 == len({job.name for job in JOBS})
    assert 6 == sum(job.prompt.startswith("/spawn") for job in JOBS)
    assert 2 == sum(BIG.strays(job.agent or "main") for job in JOBS)


def test_a_wave_depends_on_seed_and_number() -> None:
    """The same ones say the same; others do not."""
    assert BIG.talks(9) == Everyday(wanted=5).talks(9)
    assert BIG.talks(9) != BIG.talks(10)
    assert BIG.talks(9) != Everyday(wanted=20_000, seed=1).talks(9)


def test_chats_go_on() -> None:
    """A chat is opened in one wave and comes again in two others, the last time out of the archive."""
    waves = [wave for wave in range(20) if any(said.key == "chat:3-0" for said in BIG.talks(wave))]
    idle_ms = policies(BIG.config.lifecycle)[PolicyName.CHAT].archive_after_ms or 0

    assert [3, 4, 9] == waves
    assert idle_ms < (waves[2] - waves[1]) * GAP_MS


@pytest.mark.parametrize("name", [name for name in PolicyName if name is not PolicyName.HOOK])
def test_every_kind_goes(name: PolicyName) -> None:
    """Within two virtual days in a long run, and many times over in a short one."""
    kept = BIG.residence_ms(name)
    short = Everyday(wanted=400)

    assert kept is not None
    assert MAX_KEPT_MS <= kept <= DAY_MS / 2 + 2 * HOUR_MS
    assert (short.residence_ms(name) or 0) < kept


def test_days_are_days() -> None:
    """Their number ends a run, whatever has come; sessions end the other."""
    assert 1.0 == Everyday(days=3).share(3 * 48, 7)
    assert 0.5 == BIG.share(1, 10_000)


def test_littles_law_has_slack_and_never_exceeds_what_came() -> None:
    """The rate times the residence and a quarter more, two waves, at most all; for ever is all."""
    day = Arrivals(2_400, 50, DAY_MS)

    assert 225 == littles_law(HOUR_MS, day)
    assert 2_400 == littles_law(DAY_MS, day)
    assert 2_400 == littles_law(None, day)
