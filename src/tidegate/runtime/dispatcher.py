"""Tells plugins what has happened to sessions and runs, and holds nothing up for them.

The store's listeners put an event into the line of each plugin that wants it, and go on; a line is bounded, and what
finds it full is dropped and counted. One task a plugin takes events out of its line, in order, and has them called in
the plugin's own thread. So a plugin that fails, hangs or blocks costs its own events and nothing else. What waits in a
line is forgotten with the process; webhooks, whose events are rows, are not. The two events around a compaction come
through here for webhooks as well.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from tidegate import log
from tidegate.clock import Clock
from tidegate.domain import event as events
from tidegate.domain.event import Audience, Compaction, Event, EventName
from tidegate.errors import Unavailable
from tidegate.faults import Area, Faults
from tidegate.runtime.hook_thread import CallOutcome, HookThread, Report
from tidegate.runtime.plugins import Plugin
from tidegate.store.outbox import EVENT_SHARE
from tidegate.store.port import Store
from tidegate.store.tx import Effects

MAX_WAITING = 1_000  # events in the line of one plugin

Count = Callable[[EventName, CallOutcome], None]

_log = log.get("hooks")


class Dispatcher:
    """The plugins of a gateway, each with its line."""

    def __init__(  # noqa: PLR0913 - the parts that it needs
        self,
        store: Store,
        plugins: Sequence[Plugin],
        audience: Audience,
        clock: Clock,
        *,
        deadline_ms: int,
        faults: Faults | None = None,
    ) -> None:
        #: since the start; a closed set
        self.counts = Counter(dict.fromkeys(product(EventName, CallOutcome), 0))
        #: how many events may wait
        self.limit = MAX_WAITING * max(1, len(plugins))
        self._store = store
        self._audience = audience
        self._clock = clock
        self._deadline_s = deadline_ms / 1_000
        self._faults = faults or Faults(clock)
        self._lines = [_Line(plugin, self._deadline_s, self._count) for plugin in plugins]

    @property
    def waiting(self) -> int:
        """How many events wait in the lines."""
        return sum(line.length for line in self._lines)

    async def serve(self) -> None:
        """Call plugins for ever."""
        async with asyncio.TaskGroup() as tasks:
            for line in self._lines:
                tasks.create_task(line.serve(self._faults))

    @property
    def is_wanted(self) -> bool:
        """Whether there are any plugins."""
        return bool(self._lines)

    def on_commit(self, effects: Effects) -> None:
        """Put what a commit has made true into the lines."""
        for event in effects.events:
            for line in self._lines:
                line.put(event)

    async def before_compaction(self, what: Compaction) -> None:
        """Tell everybody who wants to know, and wait for the plugins until one deadline has passed.

        What has waited in vain by then is not called any more.
        """
        event = self._compaction(EventName.BEFORE_COMPACTION, what)
        if event is None:
            return
        turns = [(line, turn) for line in self._lines if (turn := line.put_first(event))]
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._post(event)
                for _, turn in turns:
                    await turn.over.wait()
        except TimeoutError:
            pass  # counted where it happens
        finally:
            for line, turn in turns:
                line.withdraw(turn)

    async def after_compaction(self, what: Compaction) -> None:
        """Tell everybody who wants to know; plugins hear of it in their turn."""
        event = self._compaction(EventName.AFTER_COMPACTION, what)
        if event is None:
            return
        await self._post(event)
        for line in self._lines:
            line.put(event)

    def _compaction(self, name: EventName, what: Compaction) -> Event | None:
        """Return what is told of a compaction; None if nobody wants to know, or the session is gone."""
        session = self._store.session_by_id(what.session) if self._audience.wants(name) else None
        return events.of_compaction(name, session, what, self._clock.now()) if session else None

    async def _post(self, event: Event) -> None:
        for target in self._audience.webhooks.get(event.event, ()):
            try:
                await self._store.outbox.put(target, event.event, events.told(event), share=EVENT_SHARE)
            except Unavailable as error:  # a full disk, a busy store: no reason not to compact
                _log.warning("event_not_posted", target=target, kind=event.event, error=str(error))

    def _count(self, name: EventName, outcome: CallOutcome) -> None:
        self.counts[name, outcome] += 1


class _Turn(NamedTuple):
    """An event in a line that somebody waits for."""

    event: Event
    #: set once it has been dealt with
    over: asyncio.Event


class _Line:
    """The events that wait for one plugin."""

    def __init__(self, plugin: Plugin, deadline_s: float, count: Count) -> None:
        self._plugin = plugin
        self._deadline_s = deadline_s
        self._count = count
        self._waiting: deque[Event | _Turn] = deque()
        self._bell = asyncio.Event()
        #: what it fails at, which is told once until it is well again
        self._failing: set[EventName] = set()
        self._is_behind = False

    @property
    def length(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Add an event at the end, if the plugin wants it and there is room."""
        if event.event not in self._plugin.functions:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._drop(event)
            return
        self._waiting.append(event)
        self._bell.set()

    def put_first(self, event: Event) -> _Turn | None:
        """Add an event that somebody waits for; None if the plugin does not want it or there is no room."""
        if event.event not in self._plugin.functions:
            return None
        if len(self._waiting) >= MAX_WAITING:
            self._drop(event)
            return None
        turn = _Turn(event, asyncio.Event())
        self._waiting.appendleft(turn)
        self._bell.set()
        return turn

    def withdraw(self, turn: _Turn) -> None:
        """Take an event back that was not called in time."""
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._told(turn.event, Report(CallOutcome.TIMED_OUT, "an earlier call has not ended"))

    async def serve(self, faults: Faults) -> None:
        """Call the plugin for ever; a call that has not ended holds up the next ones of this plugin."""
        thread = HookThread(self._plugin.name, self._deadline_s)
        try:
            while True:
                with faults.turn(Area.HOOKS, self._plugin.name) as turn:
                    await self._turn(thread)
                await turn.rest()
        finally:
            thread.close()

    async def _turn(self, thread: HookThread) -> None:
        while not self._waiting:
            self._is_behind = False
            self._bell.clear()
            await self._bell.wait()
        await self._call(thread, self._waiting.popleft())
        await thread.until_free()

    async def _call(self, thread: HookThread, one: Event | _Turn) -> None:
        event = one.event if isinstance(one, _Turn) else one
        self._told(event, await thread.call(self._plugin.functions[event.event], event))
        if isinstance(one, _Turn):
            one.over.set()

    def _drop(self, event: Event) -> None:
        self._count(event.event, CallOutcome.DROPPED)
        if not self._is_behind:
            self._is_behind = True
            _log.warning("hook_behind", plugin=self._plugin.name, waiting=len(self._waiting))

    def _told(self, event: Event, report: Report) -> None:
        name = event.event
        self._count(name, report.outcome)
        if report.outcome is CallOutcome.OK:
            if name in self._failing:
                self._failing.remove(name)
                _log.info("hook_well", plugin=self._plugin.name, function=name)
        elif name not in self._failing:
            self._failing.add(name)
            _log.warning("hook_failed", plugin=self._plugin.name, function=name, error=report.error)
