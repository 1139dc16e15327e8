"""`config check` refuses what a start refuses, in the same words."""

from pathlib import Path

import pytest

from command_line import CommandLine
from gateway_process import refused_start

MODEL = '[model]\nprovider = "openai"\nname = "m"\n'
REFUSED = {
    "a key that is not set": MODEL + 'api_key_env = "TIDEGATE_TEST_NONE"\n',
    "a key file that is not there": MODEL + 'api_key_file = "none"\n',
    "a plugin that is not installed": '[plugins]\nhooks = ["none"]\n',
    "a secret of a hook that is not set": '[hooks.build]\nsecret_env = "TIDEGATE_TEST_NONE"\n',
    "the state folder in a workspace": '[agents.main]\nworkspace = "{above}"\n',
    "a certificate that is none": '[gateway]\ntls_cert = "{file}"\ntls_key = "{file}"\n',
    "an unknown key": "[gateway]\nprot = 1\n",
    "a section of a later release": "[mcp.files]\n",
    "an unknown zone": '[[jobs]]\nname = "a"\nprompt = "b"\ncron = "0 9 * * *"\ntimezone = "Europe/Berln"\n',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_it_refuses_what_a_start_refuses(text: str, tmp_path: Path) -> None:
    """Whatever would keep the gateway from starting is told before, with the same words and exit code."""
    state, file = tmp_path / "above/state", tmp_path / "file"
    state.mkdir(parents=True, mode=0o700)
    file.write_text("no certificate")
    config = tmp_path / "mine.toml"
    config.write_text(text.format(above=state.parent, file=file))
    code, said = refused_start(state, "--config", str(config))
    checked = CommandLine(state).run("config", "check", "--config", config)
    assert (78, "") == (checked.code, checked.out)
    assert (code, said) == (checked.code, checked.err)


def test_it_leaves_nothing(tmp_path: Path) -> None:
    """To check makes no state folder and no store."""
    state = tmp_path / "state"
    assert CommandLine(state).run("config", "check").code == 0
    assert not state.exists()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[mcp.files]\n", "a later release"),
        (REFUSED["an unknown zone"], "did you mean 'Europe/Berlin'?"),
    ],
)
def test_it_says_what_is_meant(text: str, hint: str, tmp_path: Path) -> None:
    """A section that is to come, and a zone that is nearly one, are told as that."""
    config = tmp_path / "mine.toml"
    config.write_text(text)
    assert hint in CommandLine(tmp_path / "state").run("config", "check", "--config", config).err
