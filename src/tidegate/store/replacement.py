"""Puts another file in the place of the store, so that a crash at any point leaves one of the two whole.

A database in WAL mode is two files, and an old log beside a new main file destroys it. No rename changes two files at
once, so there is one moment that decides: the new store gets a name that says that it is to be put in place. From then
on whoever opens the store under the folder's lock first completes the move: the old log goes, then the old main file,
then the new one takes its name. Before that moment nothing of the old store has been touched.
"""

from pathlib import Path

from tidegate.errors import Unavailable
from tidegate.store import disk
from tidegate.store.file import size_of

RESTORED_AT = "restored_at"  # stands in a restored store until its dates are trusted again
MARK = ".restored-"  # between the name of the store and the stamp


def replace(path: Path, staged: Path, stamp: str) -> Path | None:
    """Put *staged*, a whole store in the same folder, in place of the one at *path*; needs the folder's lock.

    Return where the old store is kept now, None if there was none.
    """
    staged.rename(path.with_name(f"{path.name}{MARK}{stamp}"))
    disk.sync_folder(path.parent)
    return settle(path)


def settle(path: Path) -> Path | None:
    """Complete a replacement that was decided, if there is one; needs the folder's lock.

    Idempotent: every step looks at what is there.
    """
    kept = None
    for pending in _pending(path):
        kept = _keep(path, pending.name.rpartition(MARK)[2])
        pending.rename(path)
        disk.sync_folder(path.parent)
    return kept


def check(path: Path) -> None:
    """Refuse to read a store that is being replaced.

    Raises:
        Unavailable: It is.
    """
    if _pending(path):
        raise Unavailable(
            "a restore was interrupted", hint="start the gateway, or restore again: both complete it"
        )


def _pending(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}{MARK}*"))


def _keep(path: Path, stamp: str) -> Path | None:
    """Move the old store away, its log first; the index of the log is made anew by whoever opens it."""
    kept = _resting_place(path, stamp)
    for suffix in ("-wal", ""):
        part = path.with_name(path.name + suffix)
        if suffix and not size_of(part):
            part.unlink(missing_ok=True)
        elif part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    disk.sync_folder(kept.parent)
    disk.sync_folder(path.parent)
    return kept if kept.exists() else None


def _resting_place(path: Path, stamp: str) -> Path:
    """Return where the old store is to lie: in ``backups/``, unless that is another disk, which no rename reaches."""
    backups = path.parent / "backups"
    backups.mkdir(mode=0o700, exist_ok=True)
    if backups.stat().st_dev == path.parent.stat().st_dev:
        return backups / f"replaced-{stamp}.db"
    return path.with_name(f"{path.name}.replaced-{stamp}")
