import asyncio
from pathlib import Path

import msgspec
import pytest

from inside import PlayedModel, inside
from tidegate.agent.model import Answer
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.errors import BadText, QueueFull, RunNotFound, SessionBusy, Stopping, TooLarge, TooManySessions
from tidegate.runtime import mover
from tidegate.runtime.intake import Bounds, Intake
from tidegate.runtime.text import MAX_MESSAGE_BYTES

TWO = {
    **DEFAULTS,
    PolicyName.API_NAMED: msgspec.structs.replace(DEFAULTS[PolicyName.API_NAMED], max_running=2),
}


@pytest.mark.parametrize(
    ("text", "error"),
    [("a\0b", BadText), ("\ud800", BadText), ("é" * (MAX_MESSAGE_BYTES // 2) + "x", TooLarge)],
)
def test_texts_that_cannot_be_kept_are_refused(tmp_path: Path, text: str, error: type[Exception]) -> None:
    """A text that is too large or cannot be stored is refused at the door, and no session is made."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            with pytest.raises(error):
                await here.send("c", text)
            assert here.store.session("c") is None

    asyncio.run(main())


def test_largest_message_is_kept_exactly(tmp_path: Path) -> None:
    """A message of exactly 1 MiB is answered, and its text comes back to the byte."""

    async def main() -> None:
        async with inside(tmp_path, max_prompt_bytes=2 * MAX_MESSAGE_BYTES) as here:
            text = "/echo " + "é" * ((MAX_MESSAGE_BYTES - 6) // 2)
            run = await here.say("c", text)

            assert await here.intake.text((await here.transcript("c"))[0]) == text
            assert (await here.intake.answer(run))[1] == text.removeprefix("/echo ")

    asyncio.run(main())


def test_idle_named_session_makes_room(tmp_path: Path) -> None:
    """At the bound of named api sessions the one idle longest is archived, and comes back with its next message."""

    async def main() -> None:
        async with inside(tmp_path, policies=TWO) as here:
            for key in ("a", "b", "c"):
                await here.intake.outcome(await here.ask(PolicyName.API_NAMED, f"/echo {key}", key=key))
                here.clock.advance(1)
            states = [here.head(key).state for key in ("a", "b", "c")]
            await here.intake.outcome(await here.ask(PolicyName.API_NAMED, "/echo again", key="a"))

            assert states == [State.ARCHIVED, State.ACTIVE, State.ACTIVE]
            assert [here.head(key).state for key in ("a", "b")] == [State.ACTIVE, State.ARCHIVED]
            assert await here.texts("a") == ["/echo a", "a", "/echo again", "again"]

    asyncio.run(main())


def test_no_room_while_all_are_running(tmp_path: Path) -> None:
    """When every named api session runs, one more is refused."""

    async def main() -> None:
        async with inside(tmp_path, policies=TWO) as here:
            here.runner.stop()
            for key in ("a", "b"):
                await here.ask(PolicyName.API_NAMED, "x", key=key)
            with pytest.raises(TooManySessions):
                await here.ask(PolicyName.API_NAMED, "x", key="c")
            assert here.store.session("c") is None

    asyncio.run(main())


def test_queues_are_bounded(tmp_path: Path) -> None:
    """One message more than a session or a lane may hold is refused and leaves nothing behind."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.stop()
            here.intake = Intake(here.store, here.bus, bounds=Bounds(3, 2))
            for key in ("a", "a"):
                await here.send(key, "x")
            with pytest.raises(SessionBusy):
                await here.send("a", "x")
            await here.send("b", "x")
            with pytest.raises(QueueFull):
                await here.send("c", "x")

            assert here.store.session("c") is None
            assert here.store.tallies().runs[Lane.INTERACTIVE, RunState.QUEUED] == 3

    asyncio.run(main())


def test_closed_door_refuses_and_frees_waiters(tmp_path: Path) -> None:
    """When the gateway stops, new messages are refused and whoever waits for a queued run is told."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.stop()
            run = await here.send("c", "x")
            here.intake.close()
            with pytest.raises(Stopping):
                await here.send("c", "y")
            with pytest.raises(Stopping):
                await here.intake.outcome(run)

    asyncio.run(main())


def test_waiter_learns_how_it_ended(tmp_path: Path) -> None:
    """Whoever waits for a run hears of its cancellation; once the session is deleted the run is unknown."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.stop()
            run = await here.send("c", "x")
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(here.intake.outcome(run))
                await here.store.cancel_session(run.session)
            await mover.delete(here.store, here.head("c"))

            assert waiting.result().outcome is Outcome.CANCELLED
            with pytest.raises(RunNotFound):
                await here.intake.outcome(run)

    asyncio.run(main())


def test_runs_of_a_long_chat_level_off(tmp_path: Path) -> None:
    """A chat of many messages keeps its last hundred runs and those of the last day; older ones are forgotten."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(*[Answer(text="ok")] * 400)) as here:
            counts = []
            for _ in range(4):
                for _ in range(100):
                    await here.say("c", "x")
                here.clock.advance(86_400_001)
                counts.append(here.store.tallies().runs[Lane.INTERACTIVE, RunState.DONE])

            assert counts[0] == 100
            assert max(counts) <= 210
            assert here.head("c").entries == 800

    asyncio.run(main())
