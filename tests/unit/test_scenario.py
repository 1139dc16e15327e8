from collections import Counter

import pytest

from tidegate.clock import DAY_MS
from tidegate.domain.entry import MAX_BODY_BYTES
from tidegate.domain.session import PolicyName
from tidegate.soak.plan import MIN_GAP_MS, Arrivals
from tidegate.soak.scenario import KINDS, PERIODS, Scenario
from tidegate.soak.talk import LONGEST_S, SHAPES, talk

CLIENT_TALKS = 64


@pytest.mark.parametrize("sessions", [1, 7, 400, 20_000, 1_000_000])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_covers_thirty_lives_of_a_session(kind: PolicyName, sessions: int) -> None:
    """Whatever its size, a run is spread over thirty times the longest that one of its sessions is kept."""
    scenario = Scenario(kind=kind, sessions=sessions)

    assert scenario.waves * scenario.gap_ms > PERIODS * (scenario.residence_ms(kind) or 0) - scenario.waves
    assert (scenario.waves - 1) * scenario.wave < sessions <= scenario.waves * scenario.wave


def test_a_nameless_session_has_the_default_policy() -> None:
    """What is measured for `api` is what a gateway without a configuration does."""
    scenario = Scenario(kind=PolicyName.API, sessions=1)

    assert {} == dict(scenario.config.lifecycle)
    assert DAY_MS == scenario.residence_ms(PolicyName.API)


def test_the_bound_is_the_rate_times_the_residence() -> None:
    """A thirtieth of the sessions may be there at once, and two waves; never more than there are."""
    long, short = (Scenario(kind=PolicyName.API, sessions=count) for count in (1_000_000, 1))

    assert long.most_stored(PolicyName.API, Arrivals(1_000_000, 64, 0)) == pytest.approx(33_333, rel=0.01)
    assert 1 == short.most_stored(PolicyName.API, Arrivals(1, 1, 0))
    assert 0 == short.most_stored(PolicyName.CHAT, Arrivals(1, 1, 0))


def test_a_wave_ends_before_the_next_one() -> None:
    """Even if every talk of a client were the slowest there is."""
    talks = CLIENT_TALKS / Scenario(kind=PolicyName.API, sessions=1_000_000).clients

    assert talks * LONGEST_S * 1_000 < MIN_GAP_MS / 2


def test_the_same_seed_says_the_same() -> None:
    """A talk depends on its seed and number alone; another seed is another mix."""
    first = [talk(1, number) for number in range(50)]

    assert first == [talk(1, number) for number in reversed(range(50))][::-1]
    assert first != [talk(2, number) for number in range(50)]


def test_every_shape_comes_as_often_as_it_should() -> None:
    """Large, slow and failing talks are among them, each in its share, and texts that leave their rows."""
    found = Counter(talk(0, number).shape for number in range(5_000))

    assert len(SHAPES) == len(found)
    assert 100 == sum(SHAPES.values())
    assert 0.5 < found["echo"] / 5_000 < 0.7
    spilled = next(said for number in range(1_000) if (said := talk(0, number)).shape == "spilled_message")
    assert len(spilled.text) > MAX_BODY_BYTES
