"""Tables of a TOML file as frozen structs, and back; what is unknown or of the wrong type is refused.

An attribute that ends in ``_ms`` is a duration, one in ``_bytes`` a size: in the file its key has no such ending and
its value is text such as ``"30m"`` or ``"2GB"``; ``"never"`` is None where the type has it. One in ``_micros`` is
money: in the file a number of dollars, such as 5 or 2.50. A `Path` is taken from the folder of the file.
Which tables there are, and which values make sense together, is left to `rules`.
"""

import json
import re
import tomllib
from collections.abc import Collection
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TypeVar, get_args

import msgspec
from msgspec import UNSET
from msgspec.structs import FieldInfo, fields

from tidegate.config.place import MAX_DOTS, Keys, is_too_dotted, line_of, syntax_line
from tidegate.errors import ConfigError
from tidegate.units import duration_ms, exact_size, money_micros, print_duration, size_bytes

MAX_FILE_BYTES = 256 * 1024

_WORDS = {
    "int": "a whole number",
    "float": "a number with a fraction",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_TYPES = re.compile(r"Expected `(\w+)[^`]*`, got `(\w+)`(.*)")
_RANGE = re.compile(r"Expected `(?:int|float)` ([<>]=) (-?\d+)(?:\.0)?")


class Section(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename=lambda name: name.removesuffix("_ms").removesuffix("_bytes").removesuffix("_micros"),
):
    """One table of the file."""


class WrongError(Exception):
    """Something in the file is unknown or makes no sense; where it stands is not looked up yet."""

    def __init__(self, table: Keys, key: str | None, what: str, hint: str = "") -> None:
        """Say *what* is wrong with *key* in *table*, or with the table itself where *key* is None."""
        header = _header(table)
        named = header if key is None else f"{header} {_written(key)}".strip()
        super().__init__(f"{named}: {what}")
        self.keys = table if key is None else (*table, key)
        self.hint = hint


Table = dict[str, object]
S = TypeVar("S", bound=Section)


def load(path: Path) -> tuple[str, Table]:
    """Return the text of a TOML file and what it says.

    Raises:
        ConfigError: It cannot be read, is too large, no UTF-8 or no TOML.
    """
    text = _text(path)
    if is_too_dotted(text):
        raise ConfigError(f"{path}: a key has more than {MAX_DOTS} dots")
    try:
        return text, tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: the lists or tables are nested too deep") from None
    except ValueError as error:
        line, what = syntax_line(error, text)
        raise ConfigError(f"{path}:{line}: this is no TOML: {what}", hint="see https://toml.io") from error


def placed(error: WrongError, path: Path, text: str) -> ConfigError:
    """Return *error* with the file and the line."""
    return ConfigError(f"{path}:{line_of(text, error.keys)}: {error}", hint=error.hint)


def table_of(value: object, at: Keys) -> Table:
    """Return *value* if it is a table."""
    if isinstance(value, dict):
        return value
    hint = f"write [{'.'.join(map(_written, at))}] on a line of its own and its keys below"
    raise WrongError(at[:-1], at[-1], "expected one table", hint)


def section(cls: type[S], value: object, at: Keys, folder: Path) -> S:
    """Build a *cls* from the table *value* that stands under the keys *at* of a file in *folder*."""
    known = {field.encode_name: field for field in fields(cls)}
    values = {}
    for key, written in table_of(value, at).items():
        if key not in known:
            raise WrongError(at, key, "there is no such key here", suggestion(key, known))
        try:
            values[known[key].name] = _value(known[key], written, folder)
        except ValueError as error:
            raise WrongError(at, key, *_explained(known[key], error)) from error
    return cls(**values)


def written(one: Section) -> Table:
    """Return the table that *one* is read from, with every key that has a value; JSON can hold it."""
    table: Table = {}
    for field in fields(one):
        value = getattr(one, field.name)
        if value is UNSET or (value is None and not _is_duration(field)):
            continue
        table[field.encode_name] = _plain(field, value)
    return table


def suggestion(word: str, known: Collection[str]) -> str:
    """Return a hint at the one of *known* that was probably meant, or at all of them."""
    import difflib  # noqa: PLC0415 - 0.2 MB that a right configuration has no use for

    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there is {', '.join(sorted(known))}"


def _text(path: Path) -> str:
    try:
        if path.is_fifo():  # opening it would wait for a writer
            raise ConfigError(f"{path}: this is a pipe, no file", hint="name a TOML file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{path}: cannot be read: {reason}", hint="name a TOML file that can be read"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES} bytes", hint="is this the right file?")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is not UTF-8", hint="save the file as UTF-8") from error


def _value(field: FieldInfo, value: object, folder: Path) -> object:
    if _is_duration(field):
        if not isinstance(value, str):
            raise ValueError('expected a duration in quotes, such as "30s", "45m", "36h" or "30d"')
        value = None if value == "never" and NoneType in get_args(field.type) else duration_ms(value)
    if _is_size(field):
        if not isinstance(value, str):
            raise ValueError('expected a size in quotes, such as "64KB" or "2GB"')
        value = size_bytes(value)
    if _is_money(field):
        value = money_micros(value)
    return msgspec.convert(value, field.type, dec_hook=partial(_path, folder))


def _path(folder: Path, _: type, value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected the path of a file, in quotes")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise ValueError("expected the path of a file; whose home ~ is, is not known") from None


def _explained(field: FieldInfo, error: ValueError) -> tuple[str, str]:
    """Say in plain words what msgspec or a reader of units found, and a hint."""
    message = str(error)
    if message.startswith("Invalid enum value"):
        return "this value is not known", f"write one of {', '.join(map(json.dumps, get_args(field.type)))}"
    if match := _RANGE.fullmatch(message):
        return _out_of_range(field, match[1], int(match[2])), ""
    if match := _TYPES.fullmatch(message):
        where = " in the list" if match[3] else ""
        wanted, got = (_WORDS.get(match[n], f"a {match[n]}") for n in (1, 2))
        return f"expected {wanted}{where}, not {got}", ""
    what, _, hint = message.partition("; ")
    return what, hint


def _out_of_range(field: FieldInfo, sign: str, bound: int) -> str:
    if _is_duration(field) and bound == 1:
        return "must be longer than 0s"
    if _is_money(field) and bound == 1:
        return "must be more than 0"
    limit = _plain(field, bound)
    return f"must be at {'least' if sign == '>=' else 'most'} {limit}"


def _is_duration(field: FieldInfo) -> bool:
    return field.name.endswith("_ms")


def _is_size(field: FieldInfo) -> bool:
    return field.name.endswith("_bytes")


def _is_money(field: FieldInfo) -> bool:
    return field.name.endswith("_micros")


def _plain(field: FieldInfo, value: object) -> object:
    if _is_duration(field):
        return print_duration(value) if isinstance(value, int) else "never"
    if _is_size(field) and isinstance(value, int):
        return exact_size(value)
    if _is_money(field) and isinstance(value, int):
        return value / 1_000_000
    if isinstance(value, tuple):
        return [str(item) if isinstance(item, Path) else item for item in value]
    return str(value) if isinstance(value, Path) else value


def _header(table: Keys) -> str:
    if table[1:] and table[1].startswith("#"):
        return f"[[{table[0]}]]"
    return f"[{'.'.join(map(_written, table))}]" if table else ""


def _written(key: str) -> str:
    """Return *key* as it is written in TOML, cut."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else json.dumps(key[:80])
