import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import CommandLine, key_of

BASH = shutil.which("bash") or ""


def completed(line: CommandLine, *words: str) -> list[str]:
    """Return what zsh would be offered for the last word."""
    asked = {
        "_TIDEGATE_COMPLETE": "zsh_complete",
        "COMP_WORDS": " ".join(["tidegate", *words]),
        "COMP_CWORD": str(len(words)),
    }
    told = CommandLine(line.state, asked).run()
    assert (told.code, told.err) == (0, "")
    return told.out.splitlines()[1::3]


def bash(line: CommandLine, typed: str) -> list[str]:
    """Return what a real bash offers for what was typed, split into words as bash splits them."""
    script = (
        'eval "$(tidegate completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_tidegate_completion tidegate; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    folder = line.state / "bin"
    folder.mkdir(exist_ok=True)
    command = folder / "tidegate"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tidegate "$@"\n')
    command.chmod(0o700)
    words = [part for word in typed.split(" ") for part in _parts(word)]
    done = subprocess.run(
        [BASH, "-c", script, "bash", *words],
        capture_output=True,
        env={**line.environment, "PATH": f"{folder}:{line.environment['PATH']}"},
        check=True,
    )
    return done.stdout.decode().split()


def _parts(word: str) -> list[str]:
    parts = word.replace(":", "\0:\0").replace("=", "\0=\0").split("\0")
    return [part for part in parts if part] or [""]


def test_words_of_the_command_line(tmp_path: Path) -> None:
    """Commands, subcommands and options are completed without a gateway, also behind a command that is none."""
    line = CommandLine(tmp_path)
    assert sorted(completed(line, "s")) == [
        "service",
        "sessions",
        "skills",
        "soak",
        "status",
        "stop",
        "sweep",
    ]
    assert "export" in completed(line, "sessions", "e")
    assert completed(line, "sessions", "show", "--ta") == ["--tail"]
    assert completed(line, "nonsense", "stat") == ["status"]


def test_names_without_a_gateway(tmp_path: Path) -> None:
    """Where no gateway runs there are no names, and not a word about it."""
    line = CommandLine(tmp_path)
    for words in (["sessions", "show", ""], ["approvals", "allow", ""], ["chat", "--agent", ""]):
        assert completed(line, *words) == []
    (tmp_path / "gateway.json").write_text(
        '{"url":"http://127.0.0.1:1","instance":"x","config":null,"pid":1}'
    )
    (tmp_path / "token").write_text("some-token-or-other")
    assert completed(line, "sessions", "show", "") == []


def test_names_of_a_gateway(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Sessions and agents of the running gateway are completed, also of one that --state names."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo hi", "--session", key)
    assert completed(tidegate_up, "sessions", "pin", "other", key[:-3]) == [key]
    assert completed(tidegate_up, "chat", "--agent", "") == ["main"]
    elsewhere = CommandLine(tidegate_up.state / "elsewhere")
    assert completed(elsewhere, "sessions", "show", "--state", str(tidegate_up.state), key) == [key]


@pytest.mark.skipif(not BASH, reason="bash is not installed")
def test_bash_splits_keys(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Bash takes a colon for the end of a word: what it is offered is what comes behind it."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo hi", "--session", key)
    behind = key.removeprefix("t:")
    assert bash(tidegate_up, f"tidegate sessions show {key[:-3]}") == [behind]
    assert behind in bash(tidegate_up, "tidegate sessions show t:")
    assert bash(tidegate_up, f"tidegate chat --session={key[:-3]}") == [behind]
    assert bash(tidegate_up, "tidegate comp") == ["completion"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(tmp_path: Path, shell: str) -> None:
    """Each shell gets a script that asks the command line."""
    told = CommandLine(tmp_path).run("completion", shell)
    assert (told.code, f"_TIDEGATE_COMPLETE={shell}_complete" in told.out) == (0, True)
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=told.out.encode(), check=False).returncode == 0
    assert CommandLine(tmp_path).run("completion", "csh").code == 2
