"""uvicorn and starlette without what a gateway has no use for.

uvicorn brings its reloader, its manager of processes and logging's configuration, 2 MB in all; starlette a client for
HTTP with half of `email`, for a table of phrases, 0.4 MB. A module that is there already is not imported; afterwards
the places are free again for whoever needs the real ones.
"""

import http
import sys
from types import ModuleType, SimpleNamespace
from typing import cast

_UNUSED = {
    "uvicorn.supervisors": SimpleNamespace(ChangeReload=None, Multiprocess=None),
    "logging.config": SimpleNamespace(),
    "http.client": SimpleNamespace(responses={status.value: status.phrase for status in http.HTTPStatus}),
}
_placed = {name: stub for name, stub in _UNUSED.items() if name not in sys.modules}
sys.modules.update(cast("dict[str, ModuleType]", _placed))
if "http.client" in _placed:
    vars(http)["client"] = _placed[
        "http.client"
    ]  # where starlette looks for it, until somebody imports the real one
import starlette.exceptions  # noqa: E402
import uvicorn  # noqa: E402

for _name in _placed:
    del sys.modules[_name]

__all__ = ["starlette", "uvicorn"]
