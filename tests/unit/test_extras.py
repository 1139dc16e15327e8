"""The hint of how to install a part works as it is printed, however this Tidegate was installed."""

import json
import sys
from pathlib import Path

import pytest

from tidegate.extras import command

FOLDER = json.dumps({"url": "file:///home/an%20owner/tide", "dir_info": {}})
EDITABLE = json.dumps({"url": "file:///home/an%20owner/tide", "dir_info": {"editable": True}})
VCS = json.dumps({"url": "https://git.example/tide", "vcs_info": {"vcs": "git", "commit_id": "1a"}})


@pytest.mark.parametrize(
    ("direct_url", "asked"),
    [
        ("", ["tidegate[web]"]),
        (FOLDER, ["tidegate[web] @ file:///home/an%20owner/tide"]),
        (EDITABLE, ["--editable", "/home/an owner/tide[web]"]),
        (VCS, ["tidegate[web] @ git+https://git.example/tide"]),
    ],
)
def test_it_asks_for_what_is_installed(direct_url: str, asked: list[str], tmp_path: Path) -> None:
    """An extra is installed for the very thing that runs, from where that came."""
    pip = command("web", tmp_path, direct_url, has_pip=True)
    assert [sys.executable, "-m", "pip", "install", *asked] == pip
    uv = command("web", tmp_path, direct_url, has_pip=False)
    assert ["uv", "pip", "install", "--python", sys.executable, *asked] == uv


@pytest.mark.parametrize(
    ("note", "tool"),
    [("uv-receipt.toml", ["uv", "tool", "install"]), ("pipx_metadata.json", ["pipx", "install"])],
)
def test_a_tool_is_installed_again_with_it(note: str, tool: list[str], tmp_path: Path) -> None:
    """What uv or pipx keeps as a tool is for them to change."""
    (tmp_path / note).touch()
    assert [*tool, "--force", "tidegate[web]"] == command("web", tmp_path, "", has_pip=True)
