"""How to install a part that is not there, in words that can be typed as they stand.

What helps depends on how this Tidegate was installed: from a folder or an index, into a virtual environment of pip's
or uv's, or as a tool of uv or pipx.

Source: https://packaging.python.org/en/latest/specifications/direct-url/
"""

import json
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "tidegate"


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra beside what is there."""
    return shlex.join(command(extra, Path(sys.prefix), _direct_url(), has_pip=find_spec("pip") is not None))


def command(extra: str, prefix: Path, direct_url: str, *, has_pip: bool) -> Sequence[str]:
    """Return it for an environment at *prefix*, with the installer's note *direct_url*; empty means an index."""
    requirement, *options = _requirement(extra, direct_url)
    if (prefix / "uv-receipt.toml").exists():
        return ["uv", "tool", "install", "--force", *options, requirement]
    if (prefix / "pipx_metadata.json").exists():
        return ["pipx", "install", "--force", *options, requirement]
    if has_pip:
        return [sys.executable, "-m", "pip", "install", *options, requirement]
    return ["uv", "pip", "install", "--python", sys.executable, *options, requirement]


def _requirement(extra: str, direct_url: str) -> Sequence[str]:
    """Return what to ask for: the very thing that is installed, with an extra; then options that go before it."""
    named = f"{NAME}[{extra}]"
    found = json.loads(direct_url) if direct_url else {}
    url = str(found.get("url", ""))
    if not url:
        return [named]
    if found.get("dir_info", {}).get("editable"):
        return [f"{unquote(urlsplit(url).path)}[{extra}]", "--editable"]
    if vcs := found.get("vcs_info", {}).get("vcs"):
        return [f"{named} @ {vcs}+{url}"]
    return [f"{named} @ {url}"]


def _direct_url() -> str:
    """Return what the installer has noted of where this came from; empty if it was an index."""
    try:
        return distribution(NAME).read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return ""
