"""The clients of a soak: they go through the gateway's one door and wait for their answers, as the edge does."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin, Run
from tidegate.engine import Engine
from tidegate.errors import Broken
from tidegate.soak.scenario import Scenario
from tidegate.soak.talk import Talk, talk
from tidegate.store.port import Admission, Birth
from tidegate.store.tx import Effects

WAVE_S = 3_600.0  # of virtual time until a wave must be over; only a run that nobody ends takes as long
LEAK_BYTES = 1_024


class Load:
    """The sessions that have come so far."""

    def __init__(
        self, inside: Engine, scenario: Scenario, on_answer: Callable[[], None], *, leaks: bool
    ) -> None:
        self.done = 0
        self.entries = 0
        #: runs that ended otherwise than they must, and what the first one was
        self.astray = 0
        self.first_astray = ""
        #: talks by shape; a closed set
        self.shapes: Counter[str] = Counter()
        self._inside = inside
        self._scenario = scenario
        self._on_answer = on_answer
        self._leaks = leaks
        #: grows without a bound, on purpose and only if asked to
        self._planted: list[bytearray] = []
        inside.store.listen(self._count)

    async def wave(self) -> None:
        """Let the next wave of sessions come, and wait until every one has its answer.

        Raises:
            Broken: One has none after an hour of virtual time.
        """
        first = self.done
        numbers = iter(range(first, min(first + self._scenario.wave, self._scenario.sessions)))
        try:
            async with asyncio.timeout(WAVE_S), asyncio.TaskGroup() as clients:
                for _ in range(self._scenario.clients):
                    clients.create_task(self._client(numbers))
        except TimeoutError:
            raise Broken(f"a run had no end an hour after session {first:,} had come") from None

    async def _client(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            said = talk(self._scenario.seed, number)
            run = await self._carry_out(said, number)
            if run.outcome is not said.outcome:
                self.astray += 1
                self.first_astray = self.first_astray or f"{said.shape}: {run.outcome} {run.error}"
            self.shapes[said.shape] += 1
            self.done += 1
            self._on_answer()
            if self._leaks:
                self._planted.append(bytearray(LEAK_BYTES))

    async def _carry_out(self, said: Talk, number: int) -> Run:
        scenario, intake = self._scenario, self._inside.intake
        is_named = scenario.kind.is_conversation
        admitted = await intake.submit(
            Admission(
                key=f"{scenario.kind}:{number}" if is_named else None,
                birth=Birth(policy=scenario.kind, agent=said.agent),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[User(text=said.text)],
            )
        )
        if said.is_cancelled:
            return await intake.cancel(admitted.run.id)
        run, _ = await intake.answer(admitted.run)
        return run

    def _count(self, effects: Effects) -> None:
        self.entries += len(effects.entries)
