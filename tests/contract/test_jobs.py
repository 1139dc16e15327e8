"""Jobs in a store: what fires, once, and what its end leaves behind."""

import msgspec
import pytest

from house import House
from jobbing import history, job, known, outcomes
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config.job import Job as Definition
from tidegate.domain import job as rules
from tidegate.domain.approval import Question, Verdict
from tidegate.domain.entry import Assistant, User
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.outbox import DeliveryState
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, Origin, Step
from tidegate.domain.session import DueTo, Outcome, PolicyName, State
from tidegate.errors import (
    JobExists,
    JobInConfig,
    JobNotFound,
    JobRunning,
    TooManyJobs,
    WrongState,
)
from tidegate.store.admission import Admission, Attempt, Birth, Claimed, Shot
from tidegate.store.port import Store
from work import archive, bodies, claim, delete, fresh, head, move, offer, say, start, texts

pytestmark = pytest.mark.anyio


def attempt(house: House, name: str = "j", since: int | None = None, max_queued: int = 1_000) -> Attempt:
    """Return what is to become of a job's instants now."""
    found = known(house.store, name)
    isolated = rules.is_isolated(found.definition)
    admission = Admission(
        key=None if isolated else found.definition.session,
        birth=Birth(
            policy=PolicyName.CRON if isolated else PolicyName.CHAT,
            agent="main",
            cap_group=f"job:{name}" if isolated else None,
            max_runtime_ms=found.definition.max_runtime_ms,
            title=name,
        ),
        agent_is_named=True,
        lane=Lane.CRON,
        origin=Origin.FIRING,
        bodies=[User(text=found.definition.prompt)],
        max_queued=max_queued,
    )
    plan = rules.plan(found, house.clock.now(), house.clock.now() if since is None else since)
    return Attempt(job=found, plan=plan, admission=admission)


async def fire(house: House, name: str = "j") -> Shot:
    """Fire a job."""
    (shot,) = await house.store.fire([attempt(house, name)])
    return shot


async def fired(house: House, definition: Definition | None = None) -> Claimed:
    """Make a job, let a minute pass, fire it and claim its run."""
    await house.store.put_job(definition or job(), JobOrigin.API)
    house.clock.advance(MINUTE_MS)
    assert await fire(house, definition.name if definition else "j") is Shot.DONE
    return await claim(house.store, Lane.CRON)


async def end(store: Store, claimed: Claimed, outcome: Outcome = Outcome.OK, text: str = "done") -> None:
    """End a run with an answer."""
    step = Step(bodies=[Assistant(text=text)]) if outcome is Outcome.OK else None
    error = "" if outcome is Outcome.OK else "it broke"
    await store.finish(claimed.run.lease, outcome, step=step, error=error)


async def test_a_job_is_made(house: House) -> None:
    """Its first instant comes after now; it is counted, listed and told to whoever wakes for it."""
    made = await house.store.put_job(job(), JobOrigin.API)
    assert made == house.store.job("j")
    assert (made.fired_through, made.next_at) == (house.clock.now(), house.clock.now() + MINUTE_MS)
    assert house.store.next_firing() == made.next_at
    assert house.heard[-1].is_about_jobs
    assert [made] == await house.store.jobs("", 10)
    assert house.store.tallies().jobs[JobOrigin.API] == 1
    assert await house.store.jobs_due(house.clock.now() + MINUTE_MS - 1, 10, with_isolated=True) == []
    with pytest.raises(JobExists):
        await house.store.put_job(job(), JobOrigin.API)


async def test_an_instant_fires(house: House) -> None:
    """The run, the firing, the watermark and the next date are one: a new session of kind cron in the job's group."""
    claimed = await fired(house, job(max_runtime_ms=5_000))
    session = claimed.session
    assert (session.policy, session.cap_group, session.title) == (PolicyName.CRON, "job:j", "j")
    assert session.max_runtime_ms == 5_000
    assert claimed.run.origin is Origin.FIRING
    (firing,) = await history(house.store)
    assert (firing.instant, firing.outcome, firing.run) == (
        house.clock.now(),
        FiringOutcome.FIRED,
        claimed.run.id,
    )
    assert (firing.session, firing.is_open) == (session.id, True)
    after = known(house.store)
    assert (after.fired_through, after.next_at) == (house.clock.now(), house.clock.now() + MINUTE_MS)
    assert house.heard[-2].firings == {FiringOutcome.FIRED: 1}
    await end(house.store, claimed)
    (firing,) = await history(house.store)
    assert (firing.is_open, firing.result, firing.ended_at) == (False, Outcome.OK, house.clock.now())
    assert head(house.store, session).cap_group == "job:j:ok"


async def test_no_instant_fires_twice(house: House) -> None:
    """Whoever brings an instant again, at once, after a crash, or by a clock put back, changes nothing."""
    await house.store.put_job(job(overlap="allow"), JobOrigin.API)
    house.clock.advance(MINUTE_MS)
    brought = attempt(house)
    assert [Shot.DONE, Shot.LOST, Shot.LOST] == await house.store.fire([brought] * 3)
    await house.crash()
    assert [Shot.LOST] == await house.store.fire([brought])
    house.clock.step(-HOUR_MS)
    assert await house.store.jobs_due(house.clock.now(), 10, with_isolated=True) == []
    assert [Shot.LOST] == await house.store.fire([brought])
    house.clock.step(HOUR_MS)
    assert [FiringOutcome.FIRED] == await outcomes(house.store)


async def test_a_plan_below_the_watermark(house: House) -> None:
    """A plan for an instant that is dealt with touches nothing, whoever has made it."""
    await house.store.put_job(job(), JobOrigin.API)
    house.clock.advance(MINUTE_MS)
    await fire(house)
    forged = attempt(house)
    plan = forged.plan._replace(through=known(house.store).fired_through, fires=True)
    assert [Shot.LOST] == await house.store.fire([msgspec.structs.replace(forged, plan=plan)])


async def test_a_watermark_put_back(house: House) -> None:
    """An instant that has a row already does not fire again, though a person has put the watermark back."""
    await house.store.put_job(job(every_ms=DAY_MS, overlap="allow"), JobOrigin.API)
    for _ in range(4):
        house.clock.advance(DAY_MS)
        await fire(house)
    house.clock.step(-3 * DAY_MS)
    resumed = await house.store.pause_job("j", paused=False)
    assert resumed.next_at == house.clock.now() + DAY_MS
    for _ in range(4):
        house.clock.advance(DAY_MS)
        assert await fire(house) is Shot.DONE
    instants = [firing.instant for firing in await history(house.store)]
    assert (5, 5) == (len(instants), len(set(instants)))


@pytest.mark.parametrize("change", ["pause", "alter", "remove"])
async def test_a_job_changes_meanwhile(house: House, change: str) -> None:
    """A plan for a job that is another one by now is carried out no more."""
    await house.store.put_job(job(), JobOrigin.API)
    house.clock.advance(MINUTE_MS)
    brought = attempt(house)
    if change == "pause":
        await house.store.pause_job("j", paused=True)
    elif change == "alter":
        await house.store.alter_job("j", lambda before: msgspec.structs.replace(before, prompt="other"))
    else:
        await house.store.remove_job("j")
    assert [Shot.LOST] == await house.store.fire([brought])
    assert await house.store.claim(Lane.CRON) is None


async def test_what_was_missed(house: House) -> None:
    """Instants at which nobody was there are one row that says how many; the last one is made up for."""
    await house.store.put_job(job(), JobOrigin.API)
    house.clock.advance(10 * MINUTE_MS)
    await fire(house)
    late, missed = await history(house.store)
    assert (late.outcome, late.instant) == (FiringOutcome.FIRED, house.clock.now())
    assert (missed.outcome, missed.count, missed.is_open) == (FiringOutcome.MISSED, 9, False)
    assert missed.instant == house.clock.now() - MINUTE_MS
    assert house.heard[-1].firings == {FiringOutcome.FIRED: 1, FiringOutcome.MISSED: 9}


@pytest.mark.parametrize(
    ("overlap", "expected"), [("forbid", FiringOutcome.SKIPPED), ("allow", FiringOutcome.FIRED)]
)
async def test_it_still_runs(house: House, overlap: str, expected: FiringOutcome) -> None:
    """While it runs a job skips its instants, unless it may overlap."""
    claimed = await fired(house, job(overlap=overlap))
    house.clock.advance(MINUTE_MS)
    assert await fire(house) is Shot.DONE
    assert [FiringOutcome.FIRED, expected] == await outcomes(house.store)
    await end(house.store, claimed)
    house.clock.advance(MINUTE_MS)
    await fire(house)
    assert (await outcomes(house.store))[-1] is FiringOutcome.FIRED


async def test_there_is_no_room(house: House) -> None:
    """Without room for its run nothing is written, and the instant stays due."""
    await house.store.put_job(job(), JobOrigin.API)
    house.clock.advance(MINUTE_MS)
    brought = attempt(house, max_queued=0)
    assert [Shot.FULL] == await house.store.fire([brought])
    assert [] == await history(house.store)
    assert [known(house.store)] == await house.store.jobs_due(house.clock.now(), 10, with_isolated=True)
    assert [] == await house.store.jobs_due(house.clock.now(), 10, with_isolated=False)
    await house.reopen(
        {**DEFAULTS, PolicyName.CRON: msgspec.structs.replace(DEFAULTS[PolicyName.CRON], max_running=0)}
    )
    assert await fire(house) is Shot.FULL


async def test_a_run_is_refused(house: House) -> None:
    """What can never run is written down as refused, with the reason, and its instant is over."""
    hook = await start(house.store, offer(PolicyName.HOOK, key="k"))
    await house.store.put_job(job(session="k"), JobOrigin.API)
    await house.store.cancel_session(hook.session.id)
    house.clock.advance(MINUTE_MS)
    assert await fire(house) is Shot.DONE
    (firing,) = await history(house.store)
    assert (firing.outcome, firing.run) == (FiringOutcome.REFUSED, None)
    assert "finished" in firing.note
    assert known(house.store).fired_through == house.clock.now()


async def test_a_conversation(house: House) -> None:
    """A job may run in a conversation, one after the other with what people say there."""
    claimed = await fired(house, job(session="me"))
    assert (claimed.session.key, claimed.session.policy) == ("me", PolicyName.CHAT)
    await end(house.store, claimed)
    (firing,) = await history(house.store)
    assert (firing.is_open, firing.result) == (False, Outcome.OK)
    assert ["/echo hi", "done"] == await texts(house.store, claimed)
    await house.store.admit(offer(key="me"))
    (firing,) = await history(house.store)
    assert firing.result is Outcome.OK


async def test_failures_hold_a_job_back(house: House) -> None:
    """After failures in a row a job rests; what comes meanwhile is missed; a success forgets them."""
    claimed = await fired(house)
    for failures in (1, 2, 3, 4):
        await end(house.store, claimed, Outcome.FAILED)
        found = known(house.store)
        assert (found.failures, found.held_until) == (
            failures,
            house.clock.now() + rules.backoff_ms(failures),
        )
        assert found.wakes_at is not None
        house.clock.advance(found.wakes_at - house.clock.now())
        assert await fire(house) is Shot.DONE
        claimed = await claim(house.store, Lane.CRON)
    assert FiringOutcome.MISSED in await outcomes(house.store)
    await house.store.cancel_session(claimed.session.id)
    assert known(house.store).failures == 4
    house.clock.advance(MINUTE_MS)
    await fire(house)
    await end(house.store, await claim(house.store, Lane.CRON))
    found = known(house.store)
    assert (found.failures, found.held_until) == (0, None)


async def test_an_answer_is_delivered(house: House) -> None:
    """It is an assistant's entry of the chat in the transaction that ends the run: also after a crash, once."""
    chat = await start(house.store, offer(key="me"))
    await say(house.store, chat.run.lease, "hello")
    await house.store.finish(chat.run.lease, Outcome.OK)
    claimed = await fired(house, job(deliver="chat:me"))
    await end(house.store, claimed, text="42")
    await house.crash()
    told = (await bodies(house.store, chat))[-1]
    assert isinstance(told, Assistant)
    assert f"[job j, session {claimed.session.key}]\n42" == told.text
    assert head(house.store, chat).turn_at is None
    assert (await house.store.orphans()).keys() >= {"firing"}
    assert not any((await house.store.orphans()).values())


async def test_an_answer_makes_a_chat(house: House) -> None:
    """A chat that does not exist yet begins with the answer; an archived one comes back."""
    claimed = await fired(house, job(deliver="chat:new"))
    await end(house.store, claimed)
    chat = house.store.session("new")
    assert chat is not None
    assert (chat.policy, chat.state, chat.turn_at, chat.entries) == (PolicyName.CHAT, State.ACTIVE, None, 1)
    await archive(house.store, chat)
    house.clock.advance(MINUTE_MS)
    await fire(house)
    await end(house.store, await claim(house.store, Lane.CRON))
    again = head(house.store, chat)
    assert (again.state, again.entries) == (State.ACTIVE, 2)
    assert again.due_at == house.clock.now() + 30 * DAY_MS


async def test_an_answer_waits_behind_a_turn(house: House) -> None:
    """While the chat has a turn open, nothing lands in it; with its end comes the answer, without a model."""
    chat = await start(house.store, offer(key="me"))
    await house.store.admit(offer(key="me", text="second"))
    claimed = await fired(house, job(deliver="chat:me"))
    await end(house.store, claimed)
    assert ["hello"] == await texts(house.store, chat)
    await say(house.store, chat.run.lease, "first answer")
    await house.crash()
    await house.store.recover()
    first = await claim(house.store)
    await house.store.finish(first.run.lease, Outcome.OK)
    second = await claim(house.store)
    await say(house.store, second.run.lease, "second answer")
    await house.store.finish(second.run.lease, Outcome.OK)
    found = await texts(house.store, chat)
    assert ["hello", "first answer", "second", "second answer"] == found[:4]
    assert found[4].endswith("done")
    assert (head(house.store, chat).turn_at, house.store.open_runs(chat.session.id)) == (None, [])


async def test_an_answer_has_nowhere_to_go(house: House) -> None:
    """Where the target is no conversation, the history says that nothing was delivered."""
    await start(house.store, offer(PolicyName.HOOK, key="h"))
    claimed = await fired(house, job(deliver="chat:h"))
    await end(house.store, claimed)
    (firing,) = await history(house.store)
    assert (firing.result, firing.note) == (Outcome.OK, "not delivered: the session 'h' is no conversation")


async def test_failures_are_told(house: House) -> None:
    """So many failures in a row are told once, to where the answers go."""
    claimed = await fired(house, job(deliver="chat:me", alert_after=2))
    await end(house.store, claimed, Outcome.FAILED)
    assert house.store.session("me") is None
    for _ in range(2):
        house.clock.advance(HOUR_MS)
        await fire(house)
        await end(house.store, await claim(house.store, Lane.CRON), Outcome.FAILED)
    chat = house.store.session("me")
    assert chat is not None
    (told,) = await texts(house.store, chat)
    assert "has failed 2 times in a row; failed: it broke" in told


async def test_a_webhook_is_told(house: House) -> None:
    """For a webhook the answer lies in the outbox, written in the transaction that ends the run."""
    claimed = await fired(house, job(deliver="webhook:ops"))
    await end(house.store, claimed, text="42")
    assert {"ops"} == house.heard[-1].posted
    await house.crash()
    assert 1 == house.store.tallies().outbox[DeliveryState.PENDING]
    (firing,) = await history(house.store)
    assert (Outcome.OK, "") == (firing.result, firing.note)


async def test_what_a_job_allows(house: House) -> None:
    """The tools that a job names need no approval in its runs, no other tool, and not in other runs."""
    claimed = await fired(house, job(allow_tools=("shell",), tools=("shell", "emit")))
    lease = claimed.run.lease
    shell = Question(call_id="c", tool="shell", arguments="{}")
    other = Question(call_id="d", tool="schedule_job", arguments="{}")
    assert await house.store.verdict(lease, shell, is_new=True) is Verdict.GO
    assert await house.store.verdict(lease, shell, is_new=False) is Verdict.UNKNOWN
    assert await house.store.verdict(lease, other, is_new=True) is Verdict.UNDECIDED
    rights = house.store.job_rights(claimed.session.id, None)
    assert rights is not None
    assert rights.tools == ["shell", "emit"]
    person = await start(house.store, offer(key="p"))
    assert await house.store.verdict(person.run.lease, shell, is_new=True) is Verdict.UNDECIDED


async def test_rights_end_with_the_run(house: House) -> None:
    """In a conversation only the job's own run has its rights."""
    claimed = await fired(house, job(session="me", allow_tools=("shell",)))
    shell = Question(call_id="c", tool="shell", arguments="{}")
    assert await house.store.verdict(claimed.run.lease, shell, is_new=True) is Verdict.GO
    await end(house.store, claimed)
    after = await start(house.store, offer(key="me"))
    assert await house.store.verdict(after.run.lease, shell, is_new=True) is Verdict.UNDECIDED


async def test_run_now(house: House) -> None:
    """A job that is asked for runs beside its schedule, also while it is paused, but not twice at a time."""
    made = await house.store.put_job(job(paused=True), JobOrigin.API)
    admitted = await house.store.ask_job(made, attempt(house).admission)
    (firing,) = await history(house.store)
    assert (firing.is_asked, firing.run, firing.is_open) == (True, admitted.run.id, True)
    assert known(house.store).fired_through == made.fired_through
    with pytest.raises(JobRunning):
        await house.store.ask_job(made, attempt(house).admission)
    await house.store.alter_job("j", lambda before: msgspec.structs.replace(before, prompt="x"))
    with pytest.raises(WrongState):
        await house.store.ask_job(made, offer(PolicyName.CRON))


async def test_pausing(house: House) -> None:
    """A paused job has no date; what came meanwhile is not made up for."""
    await house.store.put_job(job(), JobOrigin.API)
    await house.store.pause_job("j", paused=True)
    assert house.store.next_firing() is None
    assert house.store.tallies().paused_jobs[JobOrigin.API] == 1
    house.clock.advance(10 * MINUTE_MS + 1)
    resumed = await house.store.pause_job("j", paused=False)
    assert (resumed.fired_through, resumed.next_at) == (house.clock.now(), house.clock.now() + MINUTE_MS - 1)
    assert [] == await history(house.store)


async def test_a_clock_that_was_wrong(house: House) -> None:
    """A watermark in the far future stays there, until a person lets the job go on."""
    await house.store.put_job(job(), JobOrigin.API)
    house.clock.step(10 * 365 * DAY_MS)
    await fire(house)
    house.clock.step(-10 * 365 * DAY_MS)
    assert await house.store.jobs_due(house.clock.now() + DAY_MS, 10, with_isolated=True) == []
    resumed = await house.store.pause_job("j", paused=False)
    assert resumed.next_at == house.clock.now() + MINUTE_MS


async def test_a_new_schedule_begins_now(house: House) -> None:
    """Changing when a job runs makes nothing missed; changing anything else leaves its dates alone."""
    made = await house.store.put_job(job(), JobOrigin.API)
    house.clock.advance(30_000)
    other = await house.store.alter_job("j", lambda before: msgspec.structs.replace(before, prompt="x"))
    assert (other.next_at, other.revision) == (made.next_at, 2)
    house.clock.advance(HOUR_MS)
    changed = await house.store.alter_job(
        "j", lambda before: msgspec.structs.replace(before, every_ms=2 * MINUTE_MS)
    )
    assert changed.fired_through == house.clock.now()
    assert changed.next_at is not None
    assert changed.next_at > house.clock.now()


async def test_a_job_goes(house: House) -> None:
    """With a job go its history and what it has running, in a session of its own or in a conversation."""
    own = await fired(house)
    shared = await fired(house, job(name="k", session="me"))
    assert (await house.store.remove_job("j")).name == "j"
    await house.store.remove_job("k")
    assert head(house.store, own).outcome is Outcome.CANCELLED
    assert fresh(house.store, shared.run).outcome is Outcome.CANCELLED
    assert house.store.job("j") is None
    assert [] == await history(house.store)
    assert not any((await house.store.orphans()).values())
    tallies = house.store.tallies()
    assert (sum(tallies.jobs.values()), sum(tallies.firings.values())) == (0, 0)
    with pytest.raises(JobNotFound):
        await house.store.remove_job("j")


async def test_the_configuration(house: House) -> None:
    """Its jobs are made, changed and removed to match it; those of others stay; what was done stays done."""
    one, two = job(name="one"), job(name="two")
    await house.store.put_job(job(name="mine"), JobOrigin.API)
    assert 2 == await house.store.reconcile_jobs([one, two])
    assert 0 == await house.store.reconcile_jobs([one, two])
    house.clock.advance(MINUTE_MS)
    await fire(house, "one")
    changed = msgspec.structs.replace(one, prompt="new")
    assert 2 == await house.store.reconcile_jobs([changed])
    assert ["mine", "one"] == [found.name for found in await house.store.jobs("", 10)]
    assert known(house.store, "one").definition.prompt == "new"
    assert [FiringOutcome.FIRED] == await outcomes(house.store, "one")
    with pytest.raises(JobInConfig):
        await house.store.remove_job("one")
    with pytest.raises(JobInConfig):
        await house.store.alter_job("one", lambda before: before)
    assert 1 == await house.store.reconcile_jobs([changed, job(name="mine", prompt="theirs")])
    assert known(house.store, "mine").origin is JobOrigin.CONFIG


async def test_a_pause_outlasts_a_start(house: House) -> None:
    """A job of the configuration that a person has paused stays so, until the configuration says something else."""
    await house.store.reconcile_jobs([job()])
    await house.store.pause_job("j", paused=True)
    await house.store.reconcile_jobs([job()])
    assert known(house.store).paused
    await house.store.reconcile_jobs([job(prompt="new")])
    assert known(house.store).paused
    await house.store.reconcile_jobs([job(paused=True)])
    await house.store.reconcile_jobs([job(paused=False)])
    assert not known(house.store).paused


async def test_models_make_few_jobs(house: House) -> None:
    """Each agent may make twenty."""
    for number in range(rules.MAX_JOBS_OF_MODEL):
        await house.store.put_job(job(name=f"j{number}"), JobOrigin.MODEL, "main")
    with pytest.raises(TooManyJobs):
        await house.store.put_job(job(), JobOrigin.MODEL, "main")
    await house.store.put_job(job(), JobOrigin.MODEL, "other")


async def test_history_levels_off(house: House) -> None:
    """The last hundred rows of a job are kept, none longer than ninety days, and never one that is open."""
    claimed = await fired(house, job(overlap="allow"))
    for _ in range(rules.KEPT_FIRINGS + 20):
        house.clock.advance(MINUTE_MS)
        await fire(house)
        await end(house.store, await claim(house.store, Lane.CRON))
    found = await history(house.store)
    assert len(found) == rules.KEPT_FIRINGS + 1
    assert found[-1].run == claimed.run.id
    house.clock.advance(rules.KEEP_FIRINGS_MS + 1)
    while await house.store.tidy():
        pass
    assert [claimed.run.id] == [firing.run for firing in await history(house.store)]
    assert house.store.tallies().firings[FiringOutcome.FIRED] == 1


async def test_a_job_for_once_is_forgotten(house: House) -> None:
    """A month after its instant it goes, unless it stands in the configuration."""
    at = "2027-02-01T00:00:00+00:00"
    await house.store.put_job(job(at=at, every_ms=None), JobOrigin.API)
    await house.store.reconcile_jobs([job(name="fixed", at=at, every_ms=None)])
    house.clock.advance(60 * DAY_MS)
    for name in ("j", "fixed"):
        await fire(house, name)
        assert known(house.store, name).next_at is None
    while await house.store.tidy():
        pass
    assert ["fixed"] == [found.name for found in await house.store.jobs("", 10)]


async def test_a_job_outlives_its_sessions(house: House) -> None:
    """When a session is deleted, the history knows it no more; the job stays."""
    claimed = await fired(house)
    await end(house.store, claimed)
    await delete(house.store, head(house.store, claimed))
    (firing,) = await history(house.store)
    assert (firing.session, firing.result) == (None, Outcome.OK)
    assert house.store.job("j") is not None


async def test_the_deadline_of_a_session_ends_its_firing(house: House) -> None:
    """A run that takes too long is a failure like any other."""
    claimed = await fired(house, job(max_runtime_ms=5_000))
    house.clock.advance(6_000)
    due = head(house.store, claimed)
    assert (due.due_to, due.due_at is not None and due.due_at <= house.clock.now()) == (DueTo.COMPLETED, True)
    await move(house.store, due, DueTo.COMPLETED)
    (firing,) = await history(house.store)
    assert (firing.is_open, firing.result) == (False, Outcome.TIMED_OUT)
    assert known(house.store).failures == 1
