"""What has been acknowledged: a dict of transcripts, and the messages that are still to enter them."""

from collections.abc import Collection, Iterable

import msgspec

from tidegate.domain.entry import Entry, Result
from tidegate.domain.run import Lane, Lease, Run, RunState
from tidegate.domain.session import PolicyName
from tidegate.ids import RunId, SessionId
from tidegate.store.admission import Admitted, Claimed
from tidegate.store.port import Store


class OpenRun(msgspec.Struct):
    """A run that is not done; `lease` while it runs, `text` until its message is in the transcript."""

    id: RunId
    session: SessionId
    policy: PolicyName
    lane: Lane
    text: str | None
    lease: Lease | None = None
    is_waiting: bool = False
    is_parked: bool = False

    @property
    def state(self) -> RunState:
        """The state that its row has to show."""
        if self.is_waiting or self.is_parked:
            return RunState.WAITING
        return RunState.RUNNING if self.lease else RunState.QUEUED


class Promise(msgspec.Struct):
    """A receipt that was given out."""

    text: str
    run: RunId
    session: SessionId
    expires_at: int


class Debt(msgspec.Struct):
    """A result that a child owes to a call."""

    lease: Lease
    call_id: str


class Ledger:
    """What a store has promised so far."""

    def __init__(self) -> None:
        self.transcripts: dict[SessionId, list[str]] = {}
        #: in the order of their acceptance
        self.open: dict[RunId, OpenRun] = {}
        self.promises: dict[str, Promise] = {}
        self.lost: list[Lease] = []
        #: by child
        self.debts: dict[SessionId, Debt] = {}
        #: calls that have got their results, by session
        self.paid: dict[SessionId, list[str]] = {}

    def admitted(self, admitted: Admitted, text: str) -> None:
        """Note an accepted message."""
        run, session = admitted.run, admitted.session
        self.transcripts.setdefault(session.id, [])
        self.open[run.id] = OpenRun(run.id, session.id, session.policy, run.lane, text)

    def claimable(self, lane: Lane, *, with_api: bool) -> RunId | None:
        """Return the run that has to be claimed next."""
        busy = {run.session for run in self.open.values() if run.state is not RunState.QUEUED}
        api = {PolicyName.API, PolicyName.API_NAMED}
        for run in self.open.values():
            if run.lane is lane and run.session not in busy and (with_api or run.policy not in api):
                return run.id
        return None

    def claimed(self, claimed: Claimed) -> None:
        """Note that a run runs and that its message has entered the transcript."""
        run = self.open[claimed.run.id]
        self._enter(run)
        run.lease = claimed.run.lease

    def appended(self, lease: Lease, texts: Iterable[str]) -> None:
        """Note what a run has said."""
        self.transcripts[lease.session] += texts

    def asked(self, lease: Lease) -> None:
        """Note that a run waits for a person, so that its lease is good for nothing."""
        run = self.open[lease.run]
        run.lease, run.is_waiting = None, True
        self.lost.append(lease)

    def parked(self, lease: Lease) -> None:
        """Note that a run is parked, so that its lease is good for nothing."""
        run = self.open[lease.run]
        run.lease, run.is_parked = None, True
        self.lost.append(lease)

    def unparked(self) -> int:
        """Note that every parked run is queued again, and return how many there were."""
        parked = [run for run in self.open.values() if run.is_parked]
        for run in parked:
            run.is_parked = False
        return len(parked)

    def owes(self, child: Admitted, lease: Lease, call_id: str) -> None:
        """Note that a child owes a result."""
        self.debts[child.session.id] = Debt(lease, call_id)

    def settle(self, store: Store) -> None:
        """Note the results of children that have ended: each has come with the end."""
        for child, debt in list(self.debts.items()):
            head = store.session_by_id(child)
            if head is None or not head.is_live:
                self.paid.setdefault(debt.lease.session, []).append(debt.call_id)
                del self.debts[child]

    def decided(self, asked: Collection[RunId]) -> None:
        """Note which runs still wait: those with an open question, and those that are owed a result."""
        owed = {debt.lease.run for debt in self.debts.values()}
        for run in self.open.values():
            run.is_waiting = run.is_waiting and (run.id in asked or run.id in owed)

    async def copied(self, store: Store, session: SessionId, shared: Collection[Entry], told: str) -> None:
        """Note that a session has begun with entries of another one, and what was told then."""
        said = [entry for entry in shared if not isinstance(entry.body, Result)]
        results = [entry.body.call_id for entry in shared if isinstance(entry.body, Result)]
        self.transcripts[session] = [*[await self.whole(store, entry) for entry in said], told]
        self.paid[session] = results

    def running(self) -> list[Lease]:
        """Return the leases that are good."""
        return [run.lease for run in self.open.values() if run.lease]

    def recovered(self) -> int:
        """Note that every running or parked run is queued again, and return how many there were."""
        leases, parked = self.running(), self.unparked()
        for run in self.open.values():
            run.lease = None
        self.lost += leases
        return len(leases) + parked

    def follow(self, store: Store) -> None:
        """Note what an operation has closed or deleted."""
        for session in [one for one in self.transcripts if store.session_by_id(one) is None]:
            del self.transcripts[session]
        for run in list(self.open.values()):
            found: Run | None = store.run(run.id)
            if found is not None and found.state is not RunState.DONE:
                assert found.state is run.state
                continue
            assert found is not None or run.session not in self.transcripts
            if found is not None:
                self._enter(run)
            self.lost += [run.lease] if run.lease else []
            del self.open[run.id]

    async def check(self, store: Store) -> None:
        """See that every transcript holds exactly what was acknowledged, in order (I1)."""
        for session, texts in self.transcripts.items():
            entries: list[Entry] = []
            while page := await store.entries(session, len(entries), 7):
                entries += page
            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
            results = [entry.body.call_id for entry in entries if isinstance(entry.body, Result)]
            assert sorted(results) == sorted(self.paid.get(session, []))
            said = [entry for entry in entries if not isinstance(entry.body, Result)]
            assert [await self.whole(store, entry) for entry in said] == texts

    async def whole(self, store: Store, entry: Entry) -> str:
        """Return the whole text of an entry."""
        blob = entry.body.blob
        return (await store.blob(blob.hash)).decode() if blob else entry.body.text

    def _enter(self, run: OpenRun) -> None:
        if run.text is not None:
            self.transcripts[run.session].append(run.text)
            run.text = None
