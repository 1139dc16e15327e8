from pathlib import Path

import pytest

from tidegate import config as configuration
from tidegate.clock import DAY_MS, MINUTE_MS, SECOND_MS
from tidegate.config import Config, toml
from tidegate.domain.session import PolicyName
from tidegate.soak.everyday import JOBS, Everyday
from tidegate.soak.own import Own
from tidegate.soak.plan import all_policies, kept_ms
from tidegate.soak.wall.plan import Wall, pauses

MODEL_URL = "http://127.0.0.1:1/v1"
TIMES = (5 * SECOND_MS, 3 * MINUTE_MS, 30 * MINUTE_MS, DAY_MS)

OWN = """
[model]
provider = "openai"
name = "nobody"
api_key_env = "NO_SUCH_KEY"
[agents.main]
instructions = "Say \\"no\\".\\nThen stop."
[agents.narrow]
tools = ["read_file"]
[lifecycle.api]
delete_after = "2s"
max_running = 2
[[jobs]]
name = "report"
cron = "0 9 * * *"
prompt = "tell"
deliver = "webhook:out"
[webhooks.out]
url = "https://example.org/out"
secret_env = "NO_SUCH_SECRET"
[gateway]
port = 1
"""


def everyday(wall_ms: int) -> Wall:
    """Return the built-in scenario in real time."""
    return Wall(said=Everyday(pauses=pauses(wall_ms)), wall_ms=wall_ms, model_url=MODEL_URL)


def own(folder: Path, wall_ms: int = 30 * MINUTE_MS) -> Wall:
    """Return a configuration of somebody in real time."""
    path = folder / "own.toml"
    path.write_text(OWN)
    return Wall(said=Own(path=path, given=configuration.read(path)), wall_ms=wall_ms, model_url=MODEL_URL)


def read_back(config: Config, folder: Path) -> Config:
    """Return what a gateway reads of a configuration that was written."""
    path = folder / "tidegate.toml"
    path.write_text("\n".join(toml.lines(configuration.effective(config))))
    return configuration.read(path)


@pytest.mark.parametrize("wall_ms", TIMES)
def test_what_is_written_is_what_is_read(tmp_path: Path, wall_ms: int) -> None:
    """The gateway of a soak gets the configuration of the plan, whatever it is."""
    for plan in (everyday(wall_ms), own(tmp_path, wall_ms)):
        read = read_back(plan.config, tmp_path)

        assert configuration.effective(plan.config) == configuration.effective(read)


@pytest.mark.parametrize("wall_ms", TIMES)
@pytest.mark.parametrize("name", [name for name in PolicyName if name is not PolicyName.HOOK])
def test_every_kind_goes_many_times(wall_ms: int, name: PolicyName) -> None:
    """A session of any kind is gone in a fifth of the time; in ten minutes and a bit, however long it lasts."""
    kept = kept_ms(everyday(wall_ms).config, name)

    assert kept is not None
    assert kept <= max(3 * SECOND_MS, wall_ms / 5)
    assert kept <= 25 * MINUTE_MS


@pytest.mark.parametrize("wall_ms", TIMES[1:])
def test_chats_come_back_from_the_archive(wall_ms: int) -> None:
    """The second pause of a chat is longer than it is left active, and ends before it is deleted."""
    plan = everyday(wall_ms)
    policy = all_policies(plan.config)[PolicyName.CHAT]
    first, second = pauses(wall_ms)
    pause_ms = (second - first) * plan.gap_ms

    assert (policy.archive_after_ms or 0) < pause_ms
    assert pause_ms < (policy.archive_after_ms or 0) + (policy.delete_after_ms or 0)
    assert f"chat:{7}-0" in {said.key for said in plan.talks(7 + second)}


def test_the_jobs_fire_each_minute() -> None:
    """All twelve, and one in six of their runs fails on purpose."""
    plan = everyday(MINUTE_MS)

    assert [MINUTE_MS] * len(JOBS) == [job.every_ms for job in plan.config.jobs]
    assert 2 / 12 == plan.stray_firings


def test_nothing_of_an_own_configuration_reaches_out(tmp_path: Path) -> None:
    """Its model, its webhooks and its address are replaced, its shorter lives and its limits hold, and it is told."""
    plan = own(tmp_path)
    config = plan.config
    api = all_policies(config)[PolicyName.API]

    assert ("scripted", {}, 0) == (config.model.provider, dict(config.webhooks), config.gateway.port)
    assert ("none", "0 9 * * *") == (config.jobs[0].deliver, config.jobs[0].cron)
    assert (2 * SECOND_MS, 2, 2) == (api.delete_after_ms, api.max_running, plan.clients)
    assert "models of main, narrow: replaced by a scripted model over HTTP" in plan.replaced
    assert "webhooks: not sent; answers of report go nowhere" in plan.replaced
    assert not any("for ever" in line for line in plan.replaced)
