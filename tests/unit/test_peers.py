import pytest
from starlette.types import Scope

from tidegate.bounded import Registry
from tidegate.clock import MINUTE_MS, ManualClock
from tidegate.edge.peers import GUESSES, MAX_PEERS, Door, peer_of
from tidegate.errors import NotAuthorized, RateLimited

TOKEN = "the-right-token-of-some-length"  # noqa: S105 - of tests


def request(
    client: str, *, forwarded: tuple[str, ...] = (), connection: dict[str, bool] | None = None
) -> Scope:
    """Return what a server says of a request."""
    return {
        "type": "http",
        "client": (client, 1_234),
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
        "state": {"connection": {} if connection is None else connection},
    }


@pytest.fixture
def registry() -> Registry:
    """Return where containers are watched."""
    return Registry()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that is moved by hand."""
    return ManualClock()


@pytest.fixture
def door(clock: ManualClock, registry: Registry) -> Door:
    """Return a door with no proxy in front of it."""
    return Door(TOKEN, clock, registry, behind_proxy=False)


def guess(door: Door, client: str, count: int, start: int = 0) -> list[type[Exception]]:
    """Try tokens that differ, each over a connection of its own; return what became of them."""
    outcomes: list[type[Exception]] = []
    for number in range(start, start + count):
        with pytest.raises((NotAuthorized, RateLimited)) as refused:
            door.check(request(client), f"Bearer guess-{number}")
        outcomes.append(refused.type)
    return outcomes


@pytest.mark.parametrize(
    ("client", "forwarded", "direct", "passed_on"),
    [
        ("192.0.2.1", (), "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", (), "192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", (), "2001:db8::/64", "2001:db8::/64"),
        ("127.0.0.1", ("198.51.100.7",), "127.0.0.1", "198.51.100.7"),
        ("127.0.0.1", ("203.0.113.1, 198.51.100.7",), "127.0.0.1", "198.51.100.7"),
        ("127.0.0.1", ("203.0.113.1", "198.51.100.7"), "127.0.0.1", "198.51.100.7"),
        ("127.0.0.1", ("203.0.113.1, nonsense",), "127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", ("",), "127.0.0.1", "127.0.0.1"),
    ],
)
def test_who_is_counted(client: str, forwarded: tuple[str, ...], direct: str, passed_on: str) -> None:
    """It is the address of the connection; behind a trusted proxy, what that has appended and nothing before it."""
    scope = request(client, forwarded=forwarded)
    assert peer_of(scope, behind_proxy=False) == direct
    assert peer_of(scope, behind_proxy=True) == passed_on


def test_guesses_are_limited_for_each_peer(door: Door, clock: ManualClock) -> None:
    """After so many wrong ones a minute nothing of that peer is compared, also what is right; others come in."""
    assert guess(door, "192.0.2.1", GUESSES + 5) == [NotAuthorized] * GUESSES + [RateLimited] * 5
    with pytest.raises(RateLimited) as refused:
        door.check(request("192.0.2.1"), f"Bearer {TOKEN}")
    assert refused.value.retry_after_s == 3
    assert guess(door, "::ffff:192.0.2.1", 1, 900) == [RateLimited]
    door.check(request("192.0.2.2"), f"Bearer {TOKEN}")
    clock.advance(3_000)
    door.check(request("192.0.2.1"), f"Bearer {TOKEN}")
    clock.advance(MINUTE_MS)
    assert guess(door, "192.0.2.1", GUESSES, 500) == [NotAuthorized] * GUESSES


def test_a_program_with_an_old_token_locks_nobody_out(door: Door) -> None:
    """The same wrong token again is no guess; it stays 401 however often it comes."""
    for _ in range(1_000):
        with pytest.raises(NotAuthorized):
            door.check(request("127.0.0.1"), "Bearer yesterdays-token")
    door.check(request("127.0.0.1"), f"Bearer {TOKEN}")


def test_no_token_is_no_guess(door: Door) -> None:
    """A request without a token is 401, and counted for nobody."""
    for _ in range(1_000):
        with pytest.raises(NotAuthorized):
            door.check(request("127.0.0.1"), "")
    door.check(request("127.0.0.1"), f"Bearer {TOKEN}")


def test_a_connection_that_is_known_goes_on(door: Door) -> None:
    """Over a connection on which the right token came it goes on while its peer is held off; a guess ends that."""
    connection: dict[str, bool] = {}
    door.check(request("127.0.0.1", connection=connection), f"Bearer {TOKEN}")
    guess(door, "127.0.0.1", GUESSES + 1)
    for _ in range(3):
        door.check(request("127.0.0.1", connection=connection), f"Bearer {TOKEN}")
    with pytest.raises(NotAuthorized):
        door.check(request("127.0.0.1", connection=connection), "Bearer another-guess")
    with pytest.raises(RateLimited):
        door.check(request("127.0.0.1", connection=connection), f"Bearer {TOKEN}")


def test_peers_are_bounded(door: Door, registry: Registry) -> None:
    """However many addresses there are, so many are remembered."""
    for number in range(MAX_PEERS + 100):
        guess(door, f"10.0.{number >> 8}.{number & 255}", 1)
    [gauge] = [gauge for gauge in registry if gauge.name == "token_guesses"]
    assert (gauge.entries, gauge.limit) == (MAX_PEERS, MAX_PEERS)
