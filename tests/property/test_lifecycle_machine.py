"""Random lives of sessions in the real store under the real sweeper, against a small model."""

from collections.abc import Iterable

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from extent import share
from ledger import Promise
from living import Living, pick
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.domain.approval import Decision, Question
from tidegate.domain.entry import Summary
from tidegate.domain.policy import DEFAULTS, Policies
from tidegate.domain.run import Lane, Usage
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.domain.storage import GRACE_MS, Marks
from tidegate.errors import (
    AlreadyDone,
    KeyReused,
    SessionFinished,
    SessionPinned,
    SessionRunning,
    SpawnRefused,
    TooManySessions,
    WrongState,
)
from tidegate.runtime import mover
from tidegate.runtime.disk import Disk
from tidegate.runtime.guard import Guard
from tidegate.store.admission import Admission
from tidegate.store.context import Replacement
from work import LANES, offer, offered, order, receipt, say

EXAMPLES = share(100)
SPANS_MS = [1, SECOND_MS, 6 * MINUTE_MS, 11 * MINUTE_MS, 2 * HOUR_MS, DAY_MS, 40 * DAY_MS]
STEPS_MS = [-3 * DAY_MS, -20 * MINUTE_MS, 20 * MINUTE_MS, 50 * DAY_MS]
TEXTS = {
    "short": "a",
    "wide": "Grüße 🌊",
    "border": "x" * 64_000,
    "spilled": "é" * 40_000,
    "escaped": "\x01" * 30_000,
}
SKILLS = ["one", "two", "three"]
ANY = st.integers(0, 999)
POLICY = st.sampled_from([PolicyName.SUBAGENT, *PolicyName])
NAME = st.sampled_from(["spilled", *TEXTS])
ENDS = st.sampled_from([None, Outcome.OK, *Outcome])
BIRTHS = st.tuples(POLICY, NAME, ANY, ENDS)


def _policies(keep: int, max_running: int, archive_after_ms: int) -> Policies:
    changed = {"keep": keep, "max_running": max_running, "archive_after_ms": archive_after_ms}
    return {
        name: policy if name is PolicyName.CHAT else msgspec.structs.replace(policy, **changed)
        for name, policy in DEFAULTS.items()
    }


POLICIES = {
    "default": DEFAULTS,
    "tight": _policies(2, 2, HOUR_MS),
    "nothing": _policies(0, 3, 0),
    "last": _policies(1, 1_000, 5 * DAY_MS),
}


class Lives(Living):
    """Whatever happens to sessions, in any order."""

    # Rules --------------------------------------------------------------------------------------------------------

    @initialize(name=st.sampled_from(list(POLICIES)), born=st.lists(BIRTHS, min_size=3, max_size=8))
    def begin(self, name: str, born: list[tuple[PolicyName, str, int, Outcome | None]]) -> None:
        """Start under one set of policies, among sessions that have got more or less far."""
        self.start_again(name)
        for birth in born:
            self.clock.advance(MINUTE_MS)
            self.live(*birth)

    @rule(policy=POLICY, name=NAME, parent=ANY, outcome=ENDS)
    def live(self, policy: PolicyName, name: str, parent: int, outcome: Outcome | None) -> None:
        """Lead a new life as far as its first answer, or as its end."""
        self.admit(policy, 0, name, parent)
        self.claim(LANES[policy], with_api=True)
        if self.has_running():
            self.work(-1, ["wide"], outcome)

    @rule(policy=POLICY, key=st.integers(0, 3), name=NAME, parent=ANY)
    def admit(self, policy: PolicyName, key: int, name: str, parent: int) -> None:
        """Bring a piece of work to a new or known session, with the skills of the moment."""
        self.count += 1
        text = TEXTS[name]
        self._admit(
            offer(
                policy,
                key=f"{policy}-{key}" if key else None,
                text=f"{self.count} {text}" if len(text) < 100 else text,
                parent=self.parent(parent) if policy is PolicyName.SUBAGENT else None,
                group="job" if policy is PolicyName.CRON else None,
                skills=self.skills,
            )
        )

    @rule(names=st.sets(st.sampled_from(SKILLS)), text=st.sampled_from(["a", "b", TEXTS["spilled"]]))
    def change_skills(self, names: set[str], text: str) -> None:
        """Let the agent have other skills from now on; one of them may be the text of a message."""
        self.skills = offered({name: f"{name} {text}" if len(text) < 10 else text for name in names})

    @rule(policy=POLICY, key=st.integers(0, 2), text=st.sampled_from(["one", "two"]))
    def admit_once(self, policy: PolicyName, key: int, text: str) -> None:
        """Bring a piece of work with a receipt, which may be known."""
        name = f"{policy}-{key}"
        admission = offer(policy, key=name, text=text, receipt=receipt(name, text))
        promise = self.ledger.promises.get(name)
        if promise is None or promise.expires_at <= self.clock.now():
            self._admit(admission)
            return
        try:
            admitted = self.do(self.store.admit(admission))
        except KeyReused:
            assert promise.text != text
        except AlreadyDone:
            assert promise.session not in self.ledger.transcripts
        else:
            assert (admitted.is_repeat, admitted.run.id, text) == (True, promise.run, promise.text)

    def _admit(self, admission: Admission) -> None:
        key, policy = admission.key, admission.birth.policy
        before = self.store.session(key) if key else None
        is_full = self.is_full(policy)
        wanted = self.skills.snapshot.name if self.skills.snapshot.skills else None
        try:
            admitted = self.do(self.store.admit(admission))
        except SessionFinished:
            assert before is not None
            assert not before.is_live
            assert not policy.is_conversation
            return
        except TooManySessions:
            assert is_full
            assert before is None or before.state is State.ARCHIVED
            return
        assert not is_full or (before is not None and before.is_live)
        assert before is None or admitted.session.id == before.id
        if admission.skills is not None:
            is_fresh = before is None or (policy.is_conversation and before.turn_at is None)
            assert admitted.session.snapshot == (wanted if is_fresh or before is None else before.snapshot)
        text = admission.bodies[0].text
        self.ledger.admitted(admitted, text)
        if admission.receipt is not None:
            run, expires_at = admitted.run, self.clock.now() + DAY_MS
            self.ledger.promises[admission.receipt.key] = Promise(text, run.id, run.session, expires_at)

    @rule(lane=st.sampled_from(Lane), with_api=st.booleans())
    def claim(self, lane: Lane, with_api: bool) -> None:  # noqa: FBT001
        """Claim the run whose turn it is."""
        expected = self.ledger.claimable(lane, with_api=with_api)
        claimed = self.do(self.store.claim(lane, with_api=with_api))
        assert expected == (claimed.run.id if claimed else None)
        if claimed:
            self.ledger.claimed(claimed)

    @precondition(Living.has_running)
    @rule(number=ANY, names=st.lists(NAME, max_size=3), outcome=ENDS)
    def work(self, number: int, names: list[str], outcome: Outcome | None) -> None:
        """Let a run say something, and perhaps end."""
        lease, texts = self.lease(number), [TEXTS[name] for name in names]
        self.do(say(self.store, lease, *texts))
        self.ledger.appended(lease, texts)
        if outcome is not None:
            notice = "" if outcome is Outcome.OK else "note"
            self.do(self.store.finish(lease, outcome, notice=notice))
            self.ledger.appended(lease, [notice] if notice else [])
            self.follow()

    @precondition(Living.has_running)
    @rule(number=ANY, share=ANY, text=st.sampled_from(["so far", TEXTS["escaped"]]))
    def compact(self, number: int, share: int, text: str) -> None:
        """Let a summary take the place of older entries of a run's session."""
        lease = self.lease(number)
        session = self.store.session_by_id(lease.session)
        assert session is not None
        first = self.summarised(session) + 1
        through = first + share % (session.entries - first + 1)
        replacement = Replacement(
            summary=Summary(text=text, through=through, pinned=(first,) if share % 2 else ()),
            before=session.summary_seq,
            segments=self.do(self.store.pack(session.id, 1 << 30, through)),
            usage=Usage(input_tokens=1),
            model="m",
        )
        entry = self.do(self.store.compact(lease, replacement))
        self.ledger.appended(lease, [text])
        after = self.store.session_by_id(session.id)
        assert after is not None
        assert after.summary_seq == entry.seq == after.entries
        assert after.cold_through == max(through, session.cold_through)
        context = self.do(self.store.context(session.id, 1 << 30))
        read = self.do(self.store.entries(session.id, through, 1_000))
        assert [one for one in read if not isinstance(one.body, Summary)] == list(context.entries)

    def summarised(self, session: Session) -> int:
        """Return the last entry that the latest summary of a session stands for."""
        if session.summary_seq is None:
            return 0
        (entry,) = self.do(self.store.entries(session.id, session.summary_seq - 1, 1))
        assert isinstance(entry.body, Summary)
        return entry.body.through

    @precondition(Living.has_sessions)
    @rule(number=ANY)
    def renew(self, number: int) -> None:
        """Let a conversation begin afresh under its key."""
        before = self.session(number)
        is_full = self.is_full(before.policy)
        try:
            renewed = self.do(self.store.renew(before.id))
        except WrongState:
            assert not before.policy.is_conversation
            return
        except TooManySessions:
            assert is_full
            return
        assert before.policy.is_conversation
        if renewed.former is None:
            assert renewed.session == before
            return
        assert (renewed.session.key, renewed.former.id) == (before.key, before.id)
        (told,) = self.do(self.store.entries(renewed.session.id, 0, 9))
        self.ledger.transcripts[renewed.session.id] = [told.body.text]

    @precondition(Living.has_sessions)
    @rule(number=ANY, place=ANY)
    def fork(self, number: int, place: int) -> None:
        """Make a chat that shares what was said before an entry."""
        source = self.session(number)
        before = 1 + place % (source.entries + 1)
        said = self.do(self.store.entries(source.id, 0, 1_000))[: before - 1]
        excerpt = self.do(self.store.excerpt(source.id, before, 1 << 30))
        forked = self.do(self.store.fork(None, excerpt))
        last = next((one for one in reversed(said) if isinstance(one.body, Summary)), None)
        shared = [one for one in said if not isinstance(one.body, Summary)]
        if last is not None and isinstance(last.body, Summary):
            pinned, through = last.body.pinned, last.body.through
            beside = [one for one in said if one.seq in pinned]
            shared = [*beside, last, *(one for one in shared if one.seq > through)]
        told = self.do(self.store.entries(forked.id, len(shared), 9))
        assert len(told) == 1
        self.do(self.ledger.copied(self.store, forked.id, shared, told[0].body.text))

    @precondition(Living.has_running)
    @rule(number=ANY, count=st.integers(1, 2))
    def ask(self, number: int, count: int) -> None:
        """Let a run wait for a person's word."""
        lease = self.lease(number)
        self.count += count
        calls = [f"{self.count - at}" for at in range(count)]
        self.do(
            self.store.wait(
                lease, [Question(call_id=call, tool="t", arguments=f"[{call}]") for call in calls]
            )
        )
        self.ledger.asked(lease)

    @precondition(Living.has_running)
    @rule(number=ANY, count=st.integers(1, 2))
    def spawn(self, number: int, count: int) -> None:
        """Let a run ask for children and wait for them."""
        lease = self.lease(number)
        for _ in range(count):
            self.count += 1
            try:
                admitted = self.do(self.store.admit(order(lease, f"{self.count}")))
            except (SpawnRefused, TooManySessions):
                continue
            self.ledger.admitted(admitted, f"task {self.count}")
            self.ledger.owes(admitted, lease, f"{self.count}")
        self.do(self.store.wait(lease, []))
        self.ledger.asked(lease)

    @precondition(Living.has_running)
    @rule(number=ANY)
    def park(self, number: int) -> None:
        """Let a run wait until better times."""
        lease = self.lease(number)
        assert self.do(self.store.park(lease)).parked_at == self.clock.now()
        self.ledger.parked(lease)

    @rule()
    def unpark(self) -> None:
        """Let every parked run go on."""
        assert self.do(self.store.unpark()) == self.ledger.unparked()

    @precondition(lambda self: bool(self.pending()))
    @rule(number=ANY, decision=st.sampled_from(Decision))
    def decide(self, number: int, decision: Decision) -> None:
        """Give a person's word; the run goes on with the last one."""
        approval = pick(self.pending(), number)
        assert self.do(self.store.decide(approval.id, decision)).state is decision.state

    @precondition(lambda self: bool(self.ledger.open))
    @rule(number=ANY, is_whole=st.booleans())
    def cancel(self, number: int, is_whole: bool) -> None:  # noqa: FBT001
        """Cancel an open run, or its session and what is open below it."""
        run = pick(list(self.ledger.open.values()), number)
        if not is_whole:
            self.do(self.store.cancel_run(run.id))
            return
        session = self.do(self.store.cancel_session(run.session))
        assert session.turn_at is None
        assert session.policy.is_conversation or not session.is_live

    @precondition(Living.has_sessions)
    @rule(number=ANY, pinned=st.sampled_from([True, True, False]))
    def pin(self, number: int, pinned: bool) -> None:  # noqa: FBT001
        """Pin a session and try to move it all the same, or unpin it."""
        assert self.do(self.store.pin(self.session(number).id, pinned=pinned)).pinned == pinned
        if pinned:
            for to in (DueTo.ARCHIVED, DueTo.DELETED):
                self.move_now(number, to)

    @precondition(Living.has_sessions)
    @rule(number=ANY)
    def restore(self, number: int) -> None:
        """Bring a session back from the archive."""
        before = self.session(number)
        is_full = self.is_full(before.policy)
        try:
            after = self.do(self.store.restore(before.id))
        except WrongState:
            assert before.state is not State.ARCHIVED
        except TooManySessions:
            assert before.policy.is_conversation
            assert is_full
        else:
            assert not (is_full and after.is_live)
            assert after.is_live == before.policy.is_conversation

    @precondition(Living.has_sessions)
    @rule(number=ANY, to=st.sampled_from([DueTo.ARCHIVED, DueTo.DELETED]))
    def move_now(self, number: int, to: DueTo) -> None:
        """Archive or delete a session because somebody asks for it."""
        before = self.session(number)
        held = before.id in self.audit.held() if to is DueTo.DELETED else before.pinned or before.is_running
        is_possible = not held or (to is DueTo.ARCHIVED and before.state is State.ARCHIVED)
        try:
            self.do((mover.archive if to is DueTo.ARCHIVED else mover.delete)(self.store, before))
        except (SessionPinned, SessionRunning):
            assert not is_possible
            return
        assert is_possible
        after = self.store.session_by_id(before.id)
        assert (after.state if after else None) == (State.ARCHIVED if to is DueTo.ARCHIVED else None)

    @rule(
        spans_ms=st.lists(st.sampled_from(SPANS_MS), min_size=1, max_size=4),
        step_ms=st.sampled_from([0, 0, 0, 0, *STEPS_MS]),
        confirm=st.booleans(),
        is_busy=st.booleans(),
    )
    def sweep_on(self, spans_ms: list[int], step_ms: int, confirm: bool, is_busy: bool) -> None:  # noqa: FBT001
        """Let time pass and carry out what is due, several times, perhaps after somebody has set the wall clock."""
        for span_ms in spans_ms:
            self.wait(span_ms // 2)
            for lease in self.ledger.running() if is_busy else []:
                self.do(say(self.store, lease, "progress"))
                self.ledger.appended(lease, ["progress"])
            self.wait(span_ms - span_ms // 2)
            self.step_clock(step_ms)
            self.sweep(confirm=confirm)
            self.follow()
            step_ms = 0

    @rule(span_ms=st.sampled_from(SPANS_MS))
    def wait(self, span_ms: int) -> None:
        """Let time pass."""
        self.clock.advance(span_ms)
        if self.held_until is not None and self.clock.monotonic() >= self.held_until:
            self.held_until = None

    def step_clock(self, step_ms: int) -> None:
        """Move the wall clock alone."""
        if step_ms:
            self.clock.step(step_ms)
            self.has_stepped_back |= step_ms < 0
            self.held_until = self.clock.monotonic() + HOUR_MS
            assert self.sweeper.holds_deletes

    def sweep(self, *, confirm: bool) -> None:
        """Carry out what is due."""
        self.held_until = None if confirm else self.held_until
        before, held = self.audit.heads(), self.audit.held()
        swept = self.do(self.sweeper.sweep(confirm=confirm))
        after, now = self.audit.heads(), self.clock.now()
        gone = before.keys() - after.keys()
        assert self.sweeper.holds_deletes == (self.held_until is not None)
        assert self.held_until is None or not gone
        assert swept.deleted == len(gone)
        assert not self.do(self.store.due(now, 1, with_deletes=self.held_until is None))
        for session in before.values():
            self.check_swept(session, before, after, is_held=session.id in held)
        if self.held_until is None:
            self.audit.check_caps(after, self.house.policies)
        promises = self.ledger.promises.items()
        self.ledger.promises = {key: promise for key, promise in promises if promise.expires_at > now}

    @rule(excess=st.sampled_from([1, 30_000, 1 << 30]))
    def press(self, excess: int) -> None:
        """Let the state be too large by so much: what may go does, in its order and no more of it than has to."""
        self.wait(GRACE_MS)
        self.sweep(confirm=False)
        self.follow()
        before, held, live = self.audit.heads(), self.audit.held(), self.store.live_bytes
        disk = Disk(self.store, self.sweeper, Guard(), self.clock, self.house.folder)
        disk.marks = Marks(limit=2 * live, last=2 * live, high=live, low=live - excess)
        self.do(disk.look())
        self.follow()
        gone = before.keys() - self.audit.heads().keys()
        since = self.clock.now() - GRACE_MS
        order = [one.id for one in evictable(before.values()) if one.id not in held and one.since_at < since]
        if self.held_until is not None:
            assert not gone
            return
        chosen = [one for one in order if one in gone and before[one].parent not in gone]
        assert all(one in chosen or before[one].parent in gone for one in gone)
        assert gone.issuperset(order[: order.index(chosen[-1])] if chosen else ())
        assert self.store.live_bytes <= disk.marks.low or gone.issuperset(order)

    @rule(name=st.sampled_from([None, *POLICIES]))
    def start_again(self, name: str | None) -> None:
        """Die and start again on what the disk holds, or stop and start with another configuration."""
        self.audit.close()
        self.do(self.house.crash() if name is None else self.house.reopen(POLICIES[name]))
        self.enter()

    # Always -------------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """See that all invariants of the store stand."""
        self.follow()
        heads = self.audit.heads()
        assert heads.keys() == self.ledger.transcripts.keys()
        self.audit.check(self.store, heads)
        if not self.has_stepped_back:
            self.audit.check_dates(heads, self.house.policies, self.clock)
        assert set(self.do(self.store.orphans()).values()) == {0}
        for lease in self.ledger.lost[-1:]:
            assert not self.can_write(lease)
        self.do(self.ledger.check(self.store))


def evictable(heads: Iterable[Session]) -> list[Session]:
    """Return what has ended and is not pinned, in the order in which it gives way."""
    places = {(PolicyName.API, True): 0, (PolicyName.API, False): 0, (PolicyName.HOOK, True): 1}
    places |= {(PolicyName.HOOK, False): 1, (PolicyName.CRON, True): 2, (PolicyName.CRON, False): 4}
    places |= {(PolicyName.SUBAGENT, True): 3, (PolicyName.SUBAGENT, False): 3}
    ranked = [
        (places[one.policy, one.outcome is Outcome.OK], one.id, one)
        for one in heads
        if one.state in {State.COMPLETED, State.ARCHIVED}
        and not one.policy.is_conversation
        and not one.pinned
    ]
    return [session for _, _, session in sorted(ranked, key=lambda item: item[:2])]


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # shared machines are slow at times
)
