"""The clients of a soak: they go through the gateway's one door and wait for their answers, as the edge does."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin, Run
from tidegate.engine import Engine
from tidegate.errors import Broken, LimitReached
from tidegate.soak.plan import Plan
from tidegate.soak.talk import Talk
from tidegate.store.admission import Admission, Birth

WAVE_S = 1_500.0  # of virtual time until a wave must be over; only a run that nobody ends takes as long


class Load:
    """The messages that have been sent so far."""

    def __init__(self, inside: Engine, plan: Plan, on_answer: Callable[[], None]) -> None:
        #: runs that ended otherwise than they must, and what the first one was
        self.astray = 0
        self.first_astray = ""
        #: talks by shape; a closed set
        self.shapes: Counter[str] = Counter()
        self._inside = inside
        self._plan = plan
        self._on_answer = on_answer

    async def wave(self, number: int) -> None:
        """Let the next wave come, and wait until every talk of it has its answer.

        Raises:
            Broken: One has none in time.
        """
        talks = iter(self._plan.talks(number))
        try:
            async with asyncio.timeout(WAVE_S), asyncio.TaskGroup() as clients:
                for _ in range(self._plan.clients):
                    clients.create_task(self._client(talks))
        except TimeoutError:
            raise Broken(f"a run of wave {number:,} had no end after {WAVE_S:g} virtual seconds") from None

    async def _client(self, talks: Iterator[Talk]) -> None:
        for said in talks:
            try:
                run = await self._carry_out(said)
            except LimitReached:
                if not said.may_be_refused:
                    raise
                self.shapes["kept_out"] += 1
                continue
            if run.outcome is not said.outcome:
                self.astray += 1
                self.first_astray = self.first_astray or f"{said.shape}: {run.outcome} {run.error}"
            self.shapes[said.shape] += 1
            self._on_answer()

    async def _carry_out(self, said: Talk) -> Run:
        intake = self._inside.intake
        admitted = await intake.submit(
            Admission(
                key=said.key,
                birth=Birth(policy=said.kind, agent=said.agent),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[User(text=said.text)],
            )
        )
        if said.is_cancelled:
            return await intake.cancel(admitted.run.id)
        run, _ = await intake.answer(admitted.run)
        return run
