"""A configuration as text: what `config.effective` returns, in the format of the file."""

import json
import re
from collections.abc import Iterator, Mapping


def lines(tree: Mapping[str, object], above: str = "") -> Iterator[str]:
    """Yield the lines of *tree* as TOML; its strings and lists are written as in JSON."""
    for key, value in tree.items():
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)
        if isinstance(value, list) and not above:
            for one in value:
                yield f"[[{name}]]"
                yield from lines(one, f"{name}.")
        elif isinstance(value, Mapping):
            if not any(isinstance(one, Mapping) for one in value.values()):
                yield f"[{above}{name}]"
            yield from lines(value, f"{above}{name}.")
        else:
            yield f"{name} = {_value(value)}"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
