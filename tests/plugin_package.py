"""Somebody's package with a plugin in it, as an installer leaves it: a module and its metadata in a folder."""

from pathlib import Path
from textwrap import dedent


def install(folder: Path, name: str, code: str, *, target: str | None = None) -> None:
    """Install a package into a folder of ``sys.path``; its entry point *name* leads to its module, or to *target*."""
    module = f"{name.replace('-', '_')}_module"
    (folder / f"{module}.py").write_text(dedent(code))
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[tidegate.hooks]\n{name} = {target or module}\n")
