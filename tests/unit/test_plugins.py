import sys
from pathlib import Path

import pytest

from plugin_package import install
from tidegate.config.plugins import MAX_PLUGINS
from tidegate.domain.event import EventName
from tidegate.errors import ConfigError
from tidegate.runtime import plugins

GOOD = """
def session_created(event):
    return event.key

async def run_finished(event):
    return event.run

def other():
    return None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder on the path that packages are installed into."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def refusal(*names: str) -> ConfigError:
    """Return why plugins cannot be loaded."""
    with pytest.raises(ConfigError) as caught:
        plugins.load(names)
    return caught.value


def test_a_plugin_is_loaded_by_its_name(folder: Path) -> None:
    """Its functions are found by the names of the events, in the order of the configuration."""
    install(folder, "good-one", GOOD)
    install(
        folder, "late-one", "class There:\n    def run_started(event): ...\n", target="late_one_module:There"
    )
    first, second = plugins.load(["late-one", "good-one"])
    assert (first.name, second.name) == ("late-one", "good-one")
    assert set(first.functions) == {EventName.RUN_STARTED}
    assert set(second.functions) == {EventName.SESSION_CREATED, EventName.RUN_FINISHED}


def test_what_is_not_named_is_not_imported(folder: Path) -> None:
    """Being installed is not being asked for."""
    install(folder, "unasked", "raise SystemExit('imported')")
    assert plugins.load([]) == []
    install(folder, "asked", GOOD)
    plugins.load(["asked"])
    assert "unasked_module" not in sys.modules


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('x' * 10_000)", "cannot be loaded: ValueError: xxx"),
        ("import not_there_at_all", "cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("def sesion_created(event): ...", "cannot be told of anything"),
        ("session_created = 3", "cannot be told of anything"),
        ("def f(", "cannot be loaded: SyntaxError"),
    ],
)
def test_what_cannot_be_loaded(folder: Path, code: str, said: str) -> None:
    """It stops the start, in few words that name the plugin and the place."""
    name = f"bad{abs(hash(code))}"
    install(folder, name, code)
    error = refusal(name)
    assert f"[plugins] hooks: '{name}' {said}" in error.message
    assert f"{name}_module" in error.hint
    assert len(error.message) < 500


def test_what_is_not_installed(folder: Path) -> None:
    """The names that there are stand in the hint."""
    install(folder, "there", GOOD)
    error = refusal("their")
    assert (error.exit_code, error.message) == (78, "[plugins] hooks: 'their' is not installed")
    assert "there" in error.hint


def test_a_name_that_two_packages_have(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody guesses which one was meant."""
    install(folder, "twice", GOOD)
    metadata = folder / "another-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tidegate.hooks]\ntwice = sys\n")
    assert refusal("twice").message == "[plugins] hooks: 'twice' is in 2 packages"
    assert MAX_PLUGINS < 100


def test_an_error_that_cannot_be_told() -> None:
    """An error whose text fails, or is huge, is a short line nevertheless."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    assert plugins.words(Broken()) == "Broken: …"
    assert len(plugins.words(ValueError("x\n" * 1_000_000))) <= plugins.ERROR_CHARS
