"""A configuration as text: what `config.effective` returns, in the format of the file."""

import json
from collections.abc import Iterator, Mapping


def lines(tree: Mapping[str, object], above: str = "") -> Iterator[str]:
    """Yield the lines of *tree* as TOML; its strings and lists are written as in JSON."""
    for key, value in tree.items():
        if isinstance(value, list) and not above:
            for one in value:
                yield f"[[{key}]]"
                yield from lines(one, f"{key}.")
        elif isinstance(value, Mapping):
            if not any(isinstance(one, Mapping) for one in value.values()):
                yield f"[{above}{key}]"
            yield from lines(value, f"{above}{key}.")
        else:
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
