import pytest

from house import House
from tidegate.domain.entry import (
    MAX_OPAQUE_BYTES,
    PREVIEW_CHARS,
    Assistant,
    BlobRef,
    Body,
    Call,
    Result,
    encode,
)
from tidegate.domain.run import Step
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import BlobNotFound, TooLarge
from tidegate.ids import BlobHash
from tidegate.store.port import Store
from work import archive, bodies, delete, head, offer, start, work

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def kept(store: Store, text: str) -> Body:
    """Append a text as an answer and return its body as it is read back."""
    claimed = await start(store, offer(PolicyName.API))
    (entry,) = await store.append(claimed.run.lease, Step(bodies=[Assistant(text=text)]))
    (read,) = await store.entries(claimed.session.id, entry.seq - 1, 1)
    assert read == entry
    return read.body


async def whole(store: Store, body: Body) -> str:
    """Return the whole text of a body, and see that the ways to read it agree."""
    if body.blob is None:
        return body.text
    data = await store.blob(body.blob.hash)
    assert (store.blob_size(body.blob.hash), body.blob.bytes) == (len(data), len(data))
    parts = [await store.blob_part(body.blob.hash, first) for first in range(0, len(data) // 65_536 + 17, 16)]
    assert b"".join(parts) == data
    assert {len(part) <= MIB for part in parts} == {True}
    assert body.text == data.decode()[:PREVIEW_CHARS]
    return data.decode()


@pytest.mark.parametrize("mark", ["x", "é", "漢", "🌊", "\x01", '"'], ids=lambda mark: f"{ord(mark):#x}")
@pytest.mark.parametrize("size", [63_999, 64_000, 64_001, 65_535, 65_536, 65_537, 131_072])
async def test_every_text_comes_back_whole(house: House, mark: str, size: int) -> None:
    """A text of any size and script comes back exactly; its entry never takes more than 64 KiB."""
    text = mark * (size // len(mark.encode()))
    body = await kept(house.store, text)
    assert len(encode(body)) <= 65_536
    assert await whole(house.store, body) == text


async def test_the_border(house: House) -> None:
    """Up to 64,000 bytes a text stays in its entry; one more, and it lies in a blob."""
    assert (await kept(house.store, "x" * 64_000)).blob is None
    body = await kept(house.store, "x" * 64_001)
    assert isinstance(body.blob, BlobRef)
    assert (body.blob.bytes, len(body.text)) == (64_001, PREVIEW_CHARS)


async def test_16_mib_and_no_more(house: House) -> None:
    """A text of 16 MiB is kept; a byte more is refused, and nothing of it stays."""
    claimed = await start(house.store, offer())
    step = Step(bodies=[Result(tool="t", call_id="1", text="x" * (16 * MIB))])
    (entry,) = await house.store.append(claimed.run.lease, step)
    assert entry.body.blob is not None
    assert house.store.blob_size(entry.body.blob.hash) == 16 * MIB
    with pytest.raises(TooLarge):
        await house.store.append(
            claimed.run.lease, Step(bodies=[Assistant(text="fine"), Assistant(text="y" * (16 * MIB + 1))])
        )
    with pytest.raises(TooLarge):
        await house.store.admit(offer(key="new", text="é" * (8 * MIB) + "x"))
    assert house.store.session("new") is None
    assert len(await bodies(house.store, claimed)) == 2
    assert house.store.tallies().blobs == 1


async def test_a_message_is_spilled_at_the_door(house: House) -> None:
    """A long message lies in a blob from its admission on, and enters the transcript with it."""
    text = "a very long message " * 5_000
    admitted = await house.store.admit(offer(text=text))
    assert house.store.tallies().blobs == 1
    await house.store.cancel_run(admitted.run.id)
    (body,) = await bodies(house.store, admitted)
    assert await whole(house.store, body) == text
    assert house.store.tallies().references == 1


async def test_stored_once(house: House) -> None:
    """The same text in several entries and sessions is one blob with one reference for each session."""
    text = "x" * 100_000
    for _ in range(2):
        claimed = await start(house.store, offer(PolicyName.API, text=text))
        await house.store.append(claimed.run.lease, Step(bodies=[Assistant(text=text)]))
        await house.store.finish(claimed.run.lease, Outcome.OK)
    tallies = house.store.tallies()
    assert (tallies.blobs, tallies.blob_bytes, tallies.references) == (1, 100_000, 2)


async def test_a_blob_lives_until_its_last_reference(house: House) -> None:
    """A shared blob stays while any session refers to it, archived or not, and goes with the last one."""
    text = "x" * 100_000
    one = await work(house.store, offer(key="one", text=text))
    two = await archive(house.store, await work(house.store, offer(key="two", text=text)))
    (body, _) = await bodies(house.store, two)
    assert body.blob is not None
    await delete(house.store, one)
    assert await whole(house.store, body) == text
    await delete(house.store, two)
    with pytest.raises(BlobNotFound):
        house.store.blob_size(body.blob.hash)
    with pytest.raises(BlobNotFound):
        await house.store.blob(body.blob.hash)
    tallies = house.store.tallies()
    assert (tallies.blobs, tallies.blob_bytes, tallies.references) == (0, 0, 0)
    assert set((await house.store.orphans()).values()) == {0}


async def test_nothing_unreferenced_stays(house: House) -> None:
    """A tree of sessions takes all its blobs with it."""
    top = await work(house.store, offer(text="a" * 70_000))
    await work(house.store, offer(PolicyName.SUBAGENT, parent=top.id, text="b" * 70_000))
    assert house.store.tallies().blobs == 2
    await delete(house.store, top)
    assert (await house.store.storage()).blobs == 0


async def test_no_such_blob(house: House) -> None:
    """A blob that nobody stored is not found, and has no part."""
    nothing = BlobHash("0" * 64)
    with pytest.raises(BlobNotFound):
        house.store.blob_size(nothing)
    with pytest.raises(BlobNotFound):
        await house.store.blob(nothing)
    assert await house.store.blob_part(nothing, 0) == b""


@pytest.mark.parametrize(
    "text", ["short", "x" * 64_000, '"' * 60_000, "x" * 100_000], ids=lambda text: str(len(text))
)
@pytest.mark.parametrize("size", [10, MAX_OPAQUE_BYTES, MAX_OPAQUE_BYTES + 1, MIB])
@pytest.mark.parametrize("mark", ['"', "漢"])
async def test_what_a_provider_adds_is_spilled_too(house: House, text: str, size: int, mark: str) -> None:
    """A provider's own data come back exactly, beside the text or from a blob; the entry stays below 64 KiB."""
    opaque = mark * (size // len(mark.encode()))
    claimed = await start(house.store, offer(PolicyName.API))
    step = Step(
        bodies=[Assistant(text=text, opaque=opaque), Call(tool="t", call_id="1", text=text, opaque=opaque)]
    )
    for entry in await house.store.append(claimed.run.lease, step):
        body = entry.body
        assert isinstance(body, Assistant | Call)
        assert len(encode(body)) <= 65_536
        assert await whole(house.store, body) == text
        ref = body.opaque_blob
        assert (await house.store.blob(ref.hash)).decode() == opaque if ref else body.opaque == opaque
        assert (ref is None) == (len(opaque.encode()) <= MAX_OPAQUE_BYTES)


async def test_what_a_provider_added_goes_with_its_session(house: House) -> None:
    """The blob of a provider's own data lives as long as its session, through the archive."""
    claimed = await start(house.store, offer(PolicyName.API))
    body = Assistant(text="x", opaque="y" * 20_000)
    (entry,) = await house.store.append(claimed.run.lease, Step(bodies=[body]))
    assert isinstance(entry.body, Assistant)
    ref = entry.body.opaque_blob
    assert ref is not None
    await house.store.finish(claimed.run.lease, Outcome.OK)
    session = await archive(house.store, head(house.store, claimed))
    assert len(await house.store.blob(ref.hash)) == 20_000
    await delete(house.store, session)
    with pytest.raises(BlobNotFound):
        house.store.blob_size(ref.hash)
