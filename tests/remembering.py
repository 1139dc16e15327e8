"""Notes for a memory, and the usual questions to one."""

from house import House
from tidegate.domain.fact import Fact, FactOrigin, Note
from tidegate.ids import SessionId
from tidegate.store.facts import Remembered
from tidegate.store.port import Store
from tidegate.store.recall import Question

EVERYTHING = 1 << 62


def note(text: str = "", entity: str = "", key: str = "", value: str = "") -> Note:
    """Return something to remember."""
    return Note(text=text, entity=entity, key=key, value=value)


async def keep(house: House, text: str, agent: str = "main", importance: int = 5) -> Fact:
    """Let an agent remember a text."""
    return (await house.store.facts.remember(agent, Note(text=text, importance=importance))).fact


async def said(
    store: Store, text: str, source: SessionId | None, origin: FactOrigin = FactOrigin.AGENT
) -> Remembered:
    """Let the agent main remember what was said in a session."""
    return await store.facts.remember("main", Note(text=text, source=source, origin=origin))


async def found(house: House, text: str, agent: str = "main", limit: int = 10) -> list[str]:
    """Return the texts of the facts that answer a question, best first."""
    question = Question(agent=agent, text=text, now=house.clock.now(), limit=limit)
    return [fact.text for fact in await house.store.facts.search(question)]


async def listed(house: House, agent: str | None = "main") -> list[str]:
    """Return the texts of all facts of an agent, newest first."""
    page = await house.store.facts.page(agent, house.clock.now(), EVERYTHING, 1_000)
    return [fact.text for fact in page]
