"""Whatever was said, by models and clients alike: no provider refuses to read it."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import opened, target
from extent import share
from llm_server import LlmServer, Reply, Request
from tidegate.agent import prompt
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, System, User

EXAMPLES = share(12)
TEXTS = st.sampled_from(["", " ", "\n\n", "ebb", "/echo flow"])
IDS = st.sampled_from(["", "call_0", "call_1", "functions.eval:301", "x" * 41, "call 0"])
TOOLS = st.sampled_from(["lookup", "", "no such/tool", "t" * 128])
ARGUMENTS = st.sampled_from(["{}", "", "{", "[1]", '{"a": 1}', "null", "7"])

BODIES: st.SearchStrategy[Body] = st.one_of(
    st.builds(User, text=TEXTS),
    st.builds(Assistant, text=TEXTS, is_partial=st.booleans()),
    st.builds(Call, tool=TOOLS, call_id=IDS, text=ARGUMENTS),
    st.builds(Call, tool=TOOLS, call_id=IDS, text=ARGUMENTS),
    st.builds(Result, tool=TOOLS, call_id=IDS, text=TEXTS),
    st.builds(Result, tool=TOOLS, call_id=IDS, text=TEXTS),
    st.builds(System, text=TEXTS),
    st.builds(Summary, text=TEXTS),
    st.builds(Notice, text=TEXTS),
)


class Agreeing(LlmServer):
    """A strict provider that agrees with all that it does not refuse."""

    def take(self, request: Request) -> Reply:
        """Say yes, or why not."""
        self.script = [Reply(text="yes")]
        return super().take(request)


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=EXAMPLES, deadline=None)
@given(histories=st.lists(st.lists(BODIES, max_size=14), min_size=10, max_size=10), is_short=st.booleans())
def test_every_history_is_taken(
    dialect: Dialect, histories: Sequence[Sequence[Body]], *, is_short: bool
) -> None:
    """Each prompt that is built of any transcript, whole or cut to a window, is taken at once."""

    async def main(server: LlmServer) -> None:
        async with opened(target(server.base_url, dialect)) as model:
            for bodies in histories:
                asked = prompt.build("", bodies, (), 60 if is_short else None)
                last = [piece async for piece in model.stream(asked)][-1]
                assert last.text == "yes"

    with Agreeing() as server:
        asyncio.run(main(server))
        assert (server.refused, len(server.requests)) == ([], len(histories))
