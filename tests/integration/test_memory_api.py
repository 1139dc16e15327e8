"""What agents remember, over HTTP, on the command line and by meaning, in a real gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import CommandLine
from embedding_server import EmbeddingServer
from gateway_process import GatewayProcess, Json, error_of, refused_start, until

AGENTS = "[agents.main]\n[agents.other]\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Start a gateway with two agents."""
    with GatewayProcess(tmp_path_factory.mktemp("state"), config=AGENTS) as process:
        yield process


def remember(gateway: GatewayProcess, text: str, **more: object) -> Json:
    """Let an agent remember something."""
    response = gateway.http.post("/api/memory", json={"text": text, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


def found(gateway: GatewayProcess, **query: str | int) -> list[str]:
    """Return the texts of a page."""
    return [fact["text"] for fact in gateway.get("/api/memory", **query)["facts"]]


def test_facts_over_http(gateway: GatewayProcess) -> None:
    """A fact is made, found, replaced, listed and taken away; each answer shows it as it is."""
    made = remember(gateway, "", entity="Anna", key="drink", value="tea", importance=7, category="taste")
    assert ("Anna drink: tea", "main", "person", "new", None) == tuple(
        made[key] for key in ("text", "agent", "origin", "kept", "source")
    )
    changed = remember(gateway, "Anna drinks coffee now", entity="anna", key="drink", expires="30d")
    assert (made["id"], "replaced", True) == (changed["id"], changed["kept"], bool(changed["expires_at"]))
    assert ["Anna drinks coffee now"] == found(gateway, q="what does ANNA drink?")
    assert [] == found(gateway, q="anna", agent="other")
    changed.pop("kept")
    assert changed == gateway.http.delete(f"/api/memory/{made['id']}").json()
    assert (404, "fact_not_found") == error_of(gateway.http.delete(f"/api/memory/{made['id']}"))


def test_pages_of_facts(gateway: GatewayProcess) -> None:
    """Every fact comes once, newest first, of one agent or of all; one that is made meanwhile disturbs nothing."""
    for number in range(7):
        remember(gateway, f"page {number}", agent="other")
    pages = gateway.pages("/api/memory", "facts", agent="other", limit=3)
    first = next(pages)
    remember(gateway, "page late", agent="other")
    texts = [fact["text"] for page in (first, *pages) for fact in page]
    assert [f"page {number}" for number in range(6, -1, -1)] == texts
    remember(gateway, "of main")
    assert {"page late", "of main"} <= set(found(gateway, limit=1000))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, (400, "bad_request")),
        ({"text": "x", "entity": "e"}, (400, "bad_request")),
        ({"text": "x" * 3_000}, (400, "bad_json")),
        ({"text": "x\0"}, (400, "bad_text")),
        ({"text": "x", "importance": 11}, (400, "bad_json")),
        ({"text": "x", "expires": "soon"}, (400, "bad_request")),
        ({"text": "x", "expires": "0s"}, (400, "bad_request")),
        ({"text": "x", "agent": "nobody"}, (404, "model_not_found")),
        ({"text": "x", "wrong": 1}, (400, "bad_json")),
        ({"text": "x" * 100_000}, (413, "too_large")),
    ],
)
def test_what_is_refused(gateway: GatewayProcess, body: Json, answer: tuple[int, str]) -> None:
    """Nonsense gets a clear answer."""
    assert answer == error_of(gateway.http.post("/api/memory", json=body))
    assert (400, "bad_request") == error_of(gateway.http.get("/api/memory", params={"cursor": "x"}))
    assert (404, "model_not_found") == error_of(gateway.http.get("/api/memory?q=x&agent=nobody"))


def test_hostile_questions(gateway: GatewayProcess) -> None:
    """Quotes, operators, NUL, emoji and very long texts are answered like any other."""
    remember(gateway, 'say "cheese" AND smile 🐈')
    for question in ('"', "AND OR NOT NEAR(", "*", "\0", "🐈", "text:x", "a" * 5_000, "cheese\0smile"):
        assert isinstance(found(gateway, q=question), list)
    assert ['say "cheese" AND smile 🐈'] == found(gateway, q='"cheese')


def test_the_command_line(tidegate_up: CommandLine) -> None:
    """Facts are listed, searched and forgotten through the running gateway."""
    assert "remembered\n" == tidegate_up.run("chat", "/remember the cat is called Tom").out
    (fact,) = tidegate_up.json("memory", "list", "--agent", "main")["facts"]
    assert ("the cat is called Tom", "agent", "chat:cli") == (fact["text"], fact["origin"], fact["source"])
    assert [fact["id"]] == [one["id"] for one in tidegate_up.json("memory", "search", "the", "cat")["facts"]]
    header, line = tidegate_up.run("memory", "list", "--limit", "5").out.splitlines()
    assert ["id", "agent", "said", "importance", "origin", "source", "fact"] == header.split()
    assert line.startswith(fact["id"])
    assert line.endswith("the cat is called Tom")
    assert "forgotten: the cat is called Tom\n" == tidegate_up.run("memory", "forget", fact["id"]).out
    gone = tidegate_up.run("memory", "forget", fact["id"])
    assert (1, True) == (gone.code, gone.err.startswith("error: there is no fact"))
    assert {"facts": []} == tidegate_up.json("memory", "search", "cat")


def test_facts_outlive_a_backup(tmp_path: Path) -> None:
    """A backup that is restored knows what was remembered, finds it, and is sound."""
    with GatewayProcess(tmp_path / "state") as gateway:
        remember(gateway, "the cat is called Tom")
        remember(gateway, "İstanbul")
        remember(gateway, "\U0001f98afox")
        line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": "a-token-for-tests-only"})
        made = line.run("backup", tmp_path / "b.db")
        assert 0 == made.code, made.err
        remember(gateway, "later")
        gateway.stop()
        restored = line.run("restore", tmp_path / "b.db")
        assert 0 == restored.code, restored.err
        gateway.start()
        assert ["\U0001f98afox", "İstanbul", "the cat is called Tom"] == found(gateway)
        assert ["the cat is called Tom"] == found(gateway, q="tom")
        told = line.run("doctor", "--scrub")
        assert 0 == told.code, told.out


def meaningful(server: EmbeddingServer) -> str:
    """Return a configuration with a model of embeddings."""
    box = f'[providers.box]\nbase_url = "{server.base_url}"\n'
    return f'[memory]\nembeddings = "box/tiny"\n{box}'


def test_facts_are_found_by_their_meaning(tmp_path: Path) -> None:
    """Other words for the same find a fact; while the model is gone words alone do, and what is new is learned later.

    A text that the model refuses holds up no other one.
    """
    with EmbeddingServer(refused="level") as server:
        with GatewayProcess(tmp_path / "state", config=meaningful(server)) as gateway:
            for text in ("the car is on level 3", "Tom sleeps all day", "Anna likes tea"):
                remember(gateway, text)
            assert ["Tom sleeps all day"] == until(lambda: found(gateway, q="feline", limit=1))
            assert "the car is on level 3" == found(gateway, q="car")[0]
            server.status, server.body = 500, "{}"
            remember(gateway, "a vehicle was sold")
            assert ["Anna likes tea"] == found(gateway, q="tea")
            assert [] == found(gateway, q="feline")
            gateway.stop()
            server.status, server.body = 200, None
            gateway.start()
            until(lambda: "a vehicle was sold" in found(gateway, q="drive vehicle", limit=1))
            line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": "a-token-for-tests-only"})
            assert 0 == line.run("doctor", "--scrub").code
        assert ["the car is on level 3"] in [texts for _, _, texts in server.requests]


def test_a_wrong_model_of_embeddings(tmp_path: Path) -> None:
    """One that cannot be asked stops the start with file and line."""
    for text, what in (
        ('[memory]\nembeddings = "tiny"', "has no endpoint for embeddings"),
        ('[memory]\nembeddings = "a/b"\n[providers.a]\ntype = "anthropic"', "has no endpoint for embeddings"),
        ('[memory]\nembeddings = "a/"\n[providers.a]\ntype = "ollama"', "names no model"),
        ("[memory]\nmax_facts = 0", "must be at least 1"),
        ('[memory]\non_session_delete = "maybe"', "this value is not known"),
    ):
        (tmp_path / "tidegate.toml").write_text(text)
        code, told = refused_start(tmp_path)
        assert (78, True, True) == (code, "tidegate.toml:2: [memory]" in told, what in told), told
