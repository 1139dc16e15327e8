import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from structlog.testing import capture_logs

from tidegate.agent.fallback import MAX_PAUSE_S, TRIES, FallbackModel
from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.errors import ContextOverflow, ModelBusy, ModelCut, ModelFailed, ModelLimited

PROMPT = Prompt(instructions="", bodies=[])


class Played:
    """A model that plays one reply after the other: a failure, an answer, or a word and then a failure."""

    def __init__(self, name: str, *replies: ModelFailed | str) -> None:
        self.name = name
        self.replies = list(replies)
        self.asked = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Play the next reply."""
        assert prompt is PROMPT
        self.asked += 1
        reply = self.replies.pop(0)
        if isinstance(reply, ModelCut):
            yield Delta(text=reply.text)
        if isinstance(reply, ModelFailed):
            raise reply
        yield Delta(text=reply)
        yield Answer(text=reply, model=self.name)


class Waiting:
    """Waits that are only written down."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Write a wait down."""
        self.pauses.append(seconds)


def ask(waiting: Waiting, models: Sequence[Played], chance: float = 0.0) -> list[Delta | Answer]:
    """Ask models in order and return what came."""

    async def main() -> list[Delta | Answer]:
        model = FallbackModel(models, wait=waiting, chance=lambda: chance)
        return [piece async for piece in model.stream(PROMPT)]

    return asyncio.run(main())


def busy(message: str = "busy", retry_after_s: float | None = None) -> ModelBusy:
    """Return a failure that may pass."""
    return ModelBusy(message, retry_after_s=retry_after_s)


def cut(text: str) -> ModelCut:
    """Return an answer that breaks off after a text."""
    return ModelCut(ModelFailed("broke off"), text=text, model="a", tokens=(0, 0))


def test_a_busy_model_is_asked_again() -> None:
    """With pauses that double, less up to a half by chance; what is heard is one answer, once."""
    waiting, model = Waiting(), Played("a", busy(), busy(), busy(), "hello")
    heard = ask(waiting, [model])
    assert heard == [Delta(text="hello"), Answer(text="hello", model="a")]
    assert waiting.pauses == [0.5, 1.0, 2.0]
    again = Waiting()
    ask(again, [Played("a", busy(), busy(), "hello")], chance=1.0)
    assert again.pauses == [0.25, 0.5]


def test_tries_are_bounded() -> None:
    """A model that stays busy is asked a few times, then the failure is told as it was."""
    waiting = Waiting()
    model = Played("a", *[busy(f"busy {number}") for number in range(9)])
    with pytest.raises(ModelBusy, match=f"busy {TRIES - 1}"):
        ask(waiting, [model])
    assert (model.asked, len(waiting.pauses)) == (TRIES, TRIES - 1)


def test_retry_after_is_kept_to() -> None:
    """The provider's own wish counts, a zero as well; who wants to be left alone for long is not waited for."""
    waiting = Waiting()
    ask(waiting, [Played("a", busy(retry_after_s=7.5), busy(retry_after_s=0), "hello")])
    assert waiting.pauses == [7.5, 0]
    patient, model = Waiting(), Played("a", busy(retry_after_s=MAX_PAUSE_S + 1), "never")
    with pytest.raises(ModelBusy) as caught:
        ask(patient, [model])
    assert (model.asked, patient.pauses, caught.value.retry_after_s) == (1, [], MAX_PAUSE_S + 1)


def test_another_model_takes_its_place() -> None:
    """A model that refuses is not asked again, one that stays busy no longer; the answer tells whose it is."""
    waiting = Waiting()
    models = [Played("a", ModelFailed("no key")), Played("b", *[busy()] * TRIES), Played("c", "hello")]
    assert ask(waiting, models)[-1] == Answer(text="hello", model="c")
    assert [model.asked for model in models] == [1, TRIES, 1]


def test_a_fallback_is_not_asked_without_need() -> None:
    """As long as the first one answers, the others are left alone."""
    models = [Played("a", "hello"), Played("b")]
    ask(Waiting(), models)
    assert [model.asked for model in models] == [1, 0]


def test_nothing_is_said_twice() -> None:
    """After the first delta nobody is asked again, neither this model nor another."""
    models = [Played("a", cut("half"), "whole"), Played("b", "whole")]
    waiting = Waiting()
    with pytest.raises(ModelCut) as caught:
        ask(waiting, models)
    assert (caught.value.text, waiting.pauses) == ("half", [])
    assert [model.asked for model in models] == [1, 0]


def test_too_long_is_told_at_once() -> None:
    """A prompt that is too long is for the caller to shorten, not for another model to try."""
    models = [Played("a", ContextOverflow()), Played("b", "hello")]
    with pytest.raises(ContextOverflow):
        ask(Waiting(), models)
    assert models[1].asked == 0


def test_four_tries_and_a_minute() -> None:
    """A model is asked four times, and is waited for up to a minute each time, at most."""
    waiting, model = Waiting(), Played("a", *[busy(retry_after_s=60.0)] * 9)
    with pytest.raises(ModelBusy):
        ask(waiting, [model])
    assert (model.asked, waiting.pauses) == (4, [60.0, 60.0, 60.0])
    for longer in (60.5, 61.0):
        patient = Waiting()
        with pytest.raises(ModelBusy):
            ask(patient, [Played("a", busy(retry_after_s=longer))])
        assert patient.pauses == []


def test_it_is_counted_as_the_first_one() -> None:
    """Its name is that of the model that is asked first."""
    assert FallbackModel([Played("a"), Played("b")]).name == "a"


def test_a_failure_is_logged_with_what_follows() -> None:
    """Each failure names the model, what it said and after how long it is asked again; none where it is not."""
    with capture_logs() as logs:
        ask(Waiting(), [Played("a", busy("full", 1.5), ModelFailed("no key")), Played("b", "hello")])
    first, second = logs
    assert first == {
        "event": "model_failed",
        "log_level": "warning",
        "part": "model",
        "model": "a",
        "error": "full",
        "again_in_s": 1.5,
    }
    assert (second["error"], second["again_in_s"]) == ("no key", None)


def test_one_failure_is_told_as_it_was() -> None:
    """Where one model is asked alone, its failure is not made anew."""
    failure = ModelFailed("no key", hint="set it")
    with pytest.raises(ModelFailed) as caught:
        ask(Waiting(), [Played("a", failure)])
    assert caught.value is failure


def test_what_all_have_in_common() -> None:
    """They are limited only if each of them is; when to come back is told only if somebody has said so."""
    waiting = Waiting()
    limited = [ModelLimited(name, retry_after_s=600) for name in ("one", "two")]
    with pytest.raises(ModelLimited) as caught:
        ask(waiting, [Played("a", limited[0]), Played("b", limited[1])])
    assert (caught.value.message, caught.value.hint, caught.value.retry_after_s) == ("one; two", "", 600)
    with pytest.raises(ModelBusy) as mixed:
        ask(waiting, [Played("a", limited[0]), Played("b", *[busy("full")] * TRIES)])
    assert (type(mixed.value), mixed.value.message, mixed.value.retry_after_s) == (
        ModelBusy,
        "one; full",
        None,
    )
    with pytest.raises(ModelFailed) as gone:
        ask(waiting, [Played("a", limited[0]), Played("b", ModelFailed("gone", hint="look"))])
    assert (type(gone.value), gone.value.message, gone.value.hint) == (ModelFailed, "one; gone", "look")


def test_all_failures_are_told() -> None:
    """Where all fail, each is told; it is busy only if all are, and for as long as the first one to come back."""
    with pytest.raises(ModelFailed, match="no key; gone") as caught:
        ask(Waiting(), [Played("a", ModelFailed("no key", hint="set it")), Played("b", ModelFailed("gone"))])
    assert (type(caught.value), caught.value.hint) == (ModelFailed, "set it")
    with pytest.raises(ModelBusy, match="one; two") as all_busy:
        ask(
            Waiting(),
            [Played("a", busy("one", retry_after_s=900)), Played("b", busy("two", retry_after_s=300))],
        )
    assert all_busy.value.retry_after_s == 300


def test_a_cancelled_wait_ends() -> None:
    """A run whose deadline comes while it waits does not go on waiting."""

    async def main() -> None:
        model = FallbackModel([Played("a", busy(retry_after_s=50), "hello")])
        async with asyncio.timeout(0.01):
            async for _ in model.stream(PROMPT):
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(main())
