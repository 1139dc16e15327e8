"""The command line on a disk that confirms no write once a file is there: ``python failing_disk.py FLAG up ...``.

What SQLite asks of the disk goes through here; all else is the real thing.
"""

import os
import sys

import apsw

from tidegate.cli.main import main


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name is SQLite's
        if os.path.exists(FLAG):  # noqa: PTH110 - it is called often
            error = apsw.IOError("the disk said no")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # its stub leaves it out
            raise error
        super().xSync(flags)


class _Disk(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - as above
        return _File(name, flags)


if __name__ == "__main__":
    FLAG = sys.argv.pop(1)
    disk = _Disk()
    main()
