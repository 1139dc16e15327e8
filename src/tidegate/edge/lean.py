"""uvicorn without what a gateway has no use for: it imports its reloader and its manager of processes with itself.

They take 1.1 MB. A module that is there already is not imported.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import cast

_UNUSED = SimpleNamespace(ChangeReload=None, Multiprocess=None)
sys.modules.setdefault("uvicorn.supervisors", cast("ModuleType", _UNUSED))
import uvicorn  # noqa: E402

__all__ = ["uvicorn"]
