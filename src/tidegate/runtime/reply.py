"""What a run answers: the same text whether somebody hears each word of it or waits for its end.

A run that calls tools answers several times; a blank line parts what it says before a call from what it says after it.
What the bus has not told, or not in time, is read from the store.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tidegate.agent.loop import REFUSED
from tidegate.domain.entry import Assistant, Call, Entry, Result
from tidegate.domain.run import Run, RunState
from tidegate.errors import RunNotFound, SessionNotFound
from tidegate.runtime.bus import Ended, Event, Lagged, Piece
from tidegate.store.admission import Admitted
from tidegate.store.port import Store

SEPARATOR = "\n\n"
HOW = "`tidegate approvals list` shows the call, `tidegate approvals allow ID` allows it"
#: what is said in place of an answer, or behind it, where a person has to decide
WAITS = f"This needs the owner's word on a call before it goes on: {HOW}. Ask again afterwards."
BEHIND = f"The message is kept. Before it comes, the conversation needs the owner's word on a call: {HOW}."
UNALLOWED = (
    f"A call was not carried out, since it needs the owner's word: {HOW} for 15 minutes. Then ask again."
)
PAGE = 16  # entries of up to 64 KiB, held while the reader takes its time


class Reply:
    """The answer of one run; it is read once."""

    def __init__(self, store: Store, events: AsyncGenerator[Event | None, None], admitted: Admitted) -> None:
        #: as it is; after the last text it is done, or waits for somebody
        self.run = admitted.run
        #: the last answer ends where the model reached its output limit
        self.is_cut = False
        self._store = store
        self._events = events
        #: what was said before is not known: pieces make no sense before the next entry
        self._is_behind = admitted.is_repeat
        self._seq = 0
        #: how many characters of the answer in the making were heard
        self._heard = 0
        self._has_said = False
        self._done: Run | None = None
        #: a call was refused for want of the owner's word, and the last answer does not say what to do
        self._is_unallowed = False

    async def texts(self) -> AsyncGenerator[str, None]:
        """Yield the answer piece by piece, and nothing ("") as a sign of life.

        Raises:
            RunNotFound: It has gone with its session before its end was heard.
            Stopping: The gateway stops before its end.
        """
        async with aclosing(self._events) as events:
            async for event in events:
                if isinstance(event, Entry):
                    async for text in self._up_to(event):
                        yield text
                elif (piece := self._passing(event)) is not None:
                    yield piece
        self.run = self._done or self._found()
        if self._is_behind or (self.run.reply_seq or 0) > self._seq:
            async for text in self._missed(self.run.reply_seq):
                yield text
        if note := self._note():
            yield self._parted(note)

    def _note(self) -> str:
        """Return what a person has to know who hears the answer."""
        match self.run.state:
            case RunState.WAITING:
                return WAITS
            case RunState.QUEUED:
                return BEHIND
            case _:
                return UNALLOWED if self._is_unallowed else ""

    async def whole(self) -> str:
        """Wait for the end and return the whole answer; see `texts` for what it raises."""
        async with aclosing(self.texts()) as texts:
            return "".join([text async for text in texts])

    def _passing(self, event: Piece | Run | Lagged | Ended | None) -> str | None:
        """Return what is to be told of what no store keeps; None is nothing."""
        match event:
            case None:
                return ""
            case Piece() if event.run == self.run.id and event.at == self._heard and not self._is_behind:
                text = self._parted(event.text)
                self._heard += len(event.text)
                return text or None
            case Lagged():
                self._is_behind = True
            case Run() if event.id == self.run.id:
                self._done = event
            case _:
                pass
        return None

    async def _up_to(self, entry: Entry) -> AsyncGenerator[str, None]:
        """Yield what is new up to an entry that was told."""
        first = self._first_seq() if entry.body.run == self.run.id else None
        if first is None or entry.seq < first:
            return
        if self._is_behind or entry.seq > max(first, self._seq + 1):
            async for text in self._missed(entry.seq - 1):
                yield text
        self._is_behind = False
        text = await self._said(entry)
        if text or isinstance(entry.body, Call | Result):  # a run that works for long gives signs of life too
            yield text

    async def _missed(self, last: int | None) -> AsyncGenerator[str, None]:
        """Yield what is new in the store, up to a seq."""
        first = self._first_seq()
        if first is None or last is None:
            return
        seq = max(self._seq, first - 1)
        while seq < last:
            try:
                entries = await self._store.entries(self.run.session, seq, min(PAGE, last - seq))
            except SessionNotFound:
                return
            for entry in entries:
                if entry.body.run == self.run.id and (text := await self._said(entry)):
                    yield text
            if not entries:
                return
            seq = entries[-1].seq

    async def _said(self, entry: Entry) -> str:
        """Return what of an entry has not been heard."""
        self._seq = max(self._seq, entry.seq)
        if isinstance(entry.body, Result) and entry.body.text == REFUSED:
            self._is_unallowed = True
        if not isinstance(entry.body, Assistant):
            return ""
        whole = await whole_text(self._store, entry)
        self._is_unallowed &= "tidegate approvals" not in whole
        text = self._parted(whole[self._heard :])
        self._heard, self.is_cut = 0, entry.body.is_cut
        return text

    def _parted(self, text: str) -> str:
        """Return a text behind what parts it from the answer before."""
        is_next = bool(text) and self._has_said and self._heard == 0
        self._has_said |= bool(text)
        return SEPARATOR + text if is_next else text

    def _first_seq(self) -> int | None:
        """Return where the run's own words begin; None while it has not begun."""
        if self.run.asked_seq is None:
            self.run = self._store.run(self.run.id) or self.run
        if self.run.asked_seq is not None:
            return self.run.asked_seq + 1
        return self.run.reply_seq  # of a run that an earlier release has carried out

    def _found(self) -> Run:
        run = self._store.run(self.run.id)
        if run is None:
            raise RunNotFound(f"run {self.run.id!r} has gone with its session")
        return run


async def whole_text(store: Store, entry: Entry) -> str:
    """Return the whole text of an entry, wherever it lies."""
    blob = entry.body.blob
    return (await store.blob(blob.hash)).decode() if blob else entry.body.text
