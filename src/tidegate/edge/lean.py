"""uvicorn without what a gateway has no use for: its reloader, its manager of processes, logging's configuration.

It imports them with itself, 2 MB in all. A module that is there already is not imported; afterwards the places are free
again for whoever needs the real ones.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import cast

_UNUSED = {
    "uvicorn.supervisors": SimpleNamespace(ChangeReload=None, Multiprocess=None),
    "logging.config": SimpleNamespace(),
}
_placed = {name: stub for name, stub in _UNUSED.items() if name not in sys.modules}
sys.modules.update(cast("dict[str, ModuleType]", _placed))
import uvicorn  # noqa: E402

for _name in _placed:
    del sys.modules[_name]

__all__ = ["uvicorn"]
