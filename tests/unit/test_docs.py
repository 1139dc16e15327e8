import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from tidegate import config, errors
from tidegate.cli.main import COMMANDS
from tidegate.config.tree import LIFECYCLE_KEYS
from tidegate.errors import TidegateError

ROOT = Path(__file__).parents[2]
DOCS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("src/**/*.md")]
READ = "\n".join(path.read_text() for path in DOCS)


def kinds(root: type[TidegateError] = TidegateError) -> list[type[TidegateError]]:
    """Return every class of error."""
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


def test_every_error_code_is_documented() -> None:
    """Each code that a client can meet stands in the table of the API."""
    table = (ROOT / "docs/api.md").read_text()
    codes = {kind.code for kind in kinds() if kind.__module__ == errors.__name__}

    assert sorted(code for code in codes - {"refused"} if f"`{code}`" not in table) == []


def test_every_exit_code_is_documented() -> None:
    """Each exit code stands in the table of `docs/running.md`."""
    table = (ROOT / "docs/running.md").read_text()

    assert sorted({kind.exit_code for kind in kinds() if f"| {kind.exit_code} |" not in table}) == []


def test_every_command_is_documented() -> None:
    """Each command is named somewhere."""
    assert [name for name in COMMANDS if f"tidegate {name}" not in READ] == []


def options(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Yield each subcommand and option of a command, with where it is."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield path, parameter.opts[0]
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield path, name
        yield from options(below, f"{path} {name}")


def test_every_option_is_documented() -> None:
    """Each subcommand and option stands in the page of the command line, or in the one about running it."""
    pages = (ROOT / "docs/cli.md").read_text() + (ROOT / "docs/running.md").read_text()
    found = [
        option
        for name, place in COMMANDS.items()
        for option in options(getattr(import_module(place.module), place.attribute), name)
    ]

    assert [option for option in found if option[1] not in pages] == []


def test_every_setting_is_documented() -> None:
    """Each key of the example and of the lifecycle stands in `docs/configuration.md`."""
    page = (ROOT / "docs/configuration.md").read_text()
    keys = set(re.findall(r"^#?(\w+) = ", config.example(), re.MULTILINE)).union(*LIFECYCLE_KEYS.values())

    assert sorted(key for key in keys if f"`{key}`" not in page) == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a file leads to one."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())

    assert [target for target in targets if not (path.parent / target).exists()] == []
