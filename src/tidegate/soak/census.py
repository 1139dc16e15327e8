"""Who was born in a soak, counted from what the store tells after each commit."""

import heapq
from collections import Counter
from collections.abc import Callable

from tidegate.domain.run import Lane, Run
from tidegate.domain.session import Outcome, PolicyName, Session
from tidegate.store.sessions import ABSENT
from tidegate.store.tx import Effects


class Census:
    """Counts; each is kept by a closed set."""

    def __init__(self, strays: Callable[[str], bool]) -> None:
        #: sessions by kind
        self.born: Counter[PolicyName] = Counter()
        #: the most of each kind that were born between two calls of `turn`
        self.most_a_wave: Counter[PolicyName] = Counter()
        self.entries = 0
        #: runs by lane and outcome
        self.ends: Counter[tuple[Lane, Outcome]] = Counter()
        #: firings that ended otherwise than they must, and what the first one was
        self.astray = 0
        self.first_astray = ""
        self._strays = strays
        self._before: Counter[PolicyName] = Counter()

    @property
    def total(self) -> int:
        """How many sessions have come."""
        return self.born.total()

    def on_commit(self, effects: Effects) -> None:
        """Take in what has changed."""
        self.entries += len(effects.entries)
        for head in newborn(effects):
            self.born[head.policy] += 1
        agents = {head.id: head.agent for head in effects.heads.values() if head is not None}
        for run in effects.closed:
            self._take_end(run, agents.get(run.session, ""))

    def turn(self) -> None:
        """A wave is over."""
        for name, count in self.born.items():
            self.most_a_wave[name] = max(self.most_a_wave[name], count - self._before[name])
        self._before = self.born.copy()

    def _take_end(self, run: Run, agent: str) -> None:
        if run.outcome is None:
            return
        self.ends[run.lane, run.outcome] += 1
        if run.lane is Lane.CRON and (run.outcome is not Outcome.OK) is not self._strays(agent):
            self.astray += 1
            self.first_astray = self.first_astray or f"firing with {agent}: {run.outcome} {run.error}"


def newborn(effects: Effects) -> list[Session]:
    """Return the sessions that a transaction has created: those that have changed least often."""
    count = sum(many for move, many in effects.transitions.items() if move.before == ABSENT)
    heads = (head for head in effects.heads.values() if head is not None)
    return heapq.nsmallest(count, heads, key=lambda head: head.version) if count else []
