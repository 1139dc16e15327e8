import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from inside import Inside, PlayedModel, Reply, inside
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall
from tidegate.domain.entry import Assistant, User
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import PolicyName
from tidegate.runtime.bus import MAX_EVENTS
from tidegate.store.admission import Admission, Admitted, Birth, Receipt

CALLS = [ToolCall(call_id="a", tool="none", arguments="{}")]
MANY = 2 * MAX_EVENTS


async def admit(here: Inside, key: str = "k") -> Admitted:
    """Ask, with an answer of somebody in the message, as clients with a history do."""
    return await here.intake.submit(
        Admission(
            key=key,
            birth=Birth(policy=PolicyName.API_NAMED, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[Assistant(text="old"), User(text="well?")],
            receipt=Receipt(scope="test", key=key, body_hash=b"same"),
        )
    )


def in_pieces(letter: str, calls: list[ToolCall]) -> Reply:
    """Return a reply of more pieces than a reader who does not read is kept."""

    async def play(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        for _number in range(MANY):
            yield Delta(text=letter)
        yield Answer(text=letter * MANY, calls=calls)

    return play


def test_a_slow_reader_misses_nothing(tmp_path: Path) -> None:
    """Whoever does not keep up gets the whole text in order, and nothing twice."""

    async def main() -> str:
        model = PlayedModel(in_pieces("a", CALLS), in_pieces("b", []))
        async with inside(tmp_path, model) as here:
            admitted = await admit(here)
            texts = here.intake.reply(admitted).texts()
            heard = [await anext(texts)]
            await here.intake.outcome(admitted.run)
            return "".join([*heard, *[text async for text in texts]])

    assert asyncio.run(main()) == f"{'a' * MANY}\n\n{'b' * MANY}"


def test_a_late_reader_misses_nothing(tmp_path: Path) -> None:
    """Who asks again when all is over gets the same text, whatever was said in the session since."""

    async def main() -> list[str]:
        model = PlayedModel(Answer(text="one", calls=CALLS), Answer(text="two"), Answer(text="three"))
        async with inside(tmp_path, model) as here:
            first = await here.intake.reply(await admit(here)).whole()
            await here.say("k", "and?")
            repeat = await admit(here)
            assert repeat.is_repeat
            return [first, await here.intake.reply(repeat).whole()]

    assert asyncio.run(main()) == ["one\n\ntwo"] * 2


def test_signs_of_life(tmp_path: Path) -> None:
    """While nothing is said there are signs of life, which add nothing to the text."""
    gate = asyncio.Event()

    async def play(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        await gate.wait()
        yield Answer(text="at last")

    async def main() -> list[str]:
        async with inside(tmp_path, PlayedModel(play)) as here:
            texts = here.intake.reply(await admit(here), quiet_s=0.01).texts()
            signs = [await anext(texts), await anext(texts)]
            gate.set()
            return [*signs, "".join([text async for text in texts])]

    assert asyncio.run(main()) == ["", "", "at last"]


def test_a_cut_answer_says_so(tmp_path: Path) -> None:
    """Only the last answer tells whether the model had room to end."""

    async def main() -> list[bool]:
        model = PlayedModel(
            Answer(text="one", calls=CALLS, is_cut=True),
            Answer(text="two"),
            Answer(text="three", is_cut=True),
        )
        async with inside(tmp_path, model) as here:
            cut: list[bool] = []
            for key in "ab":
                reply = here.intake.reply(await admit(here, key))
                await reply.whole()
                cut.append(reply.is_cut)
            return cut

    assert asyncio.run(main()) == [False, True]
