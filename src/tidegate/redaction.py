"""What must never be written down: the token and the secrets of the configuration, whoever says them.

One pattern knows every secret as it is, and in the forms in which it gets about: in JSON, in a URL, and in base64 of
either alphabet, wherever in the encoded text it begins. What it finds is replaced. The cost grows with the text and
hardly with the number of secrets; long texts are gone through slice by slice, so that other threads get their turn.

A secret shorter than `MIN_CHARS` is left alone: it would be found in ordinary words.
"""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
MIN_CHARS = 8
MAX_SECRETS = 4_096
SLICE_CHARS = 64 << 10


class Redaction:
    """Takes secrets out of texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._count = 0
        self._pattern: re.Pattern[str] | None = None
        #: the forms by their first character
        self._starts: dict[str, list[str]] = {}
        self._longest = 0
        self.add(*secrets)

    def add(self, *secrets: str) -> int:
        """Know more secrets from now on, at most `MAX_SECRETS`; return how many of these are too short to be known."""
        for secret in secrets:
            if len(secret) >= MIN_CHARS and self._count < MAX_SECRETS:
                self._count += 1
                self._forms.update(form for form in _forms(secret) if len(form) >= MIN_CHARS)
        if self._forms:
            self._prepare()
        return sum(0 < len(secret) < MIN_CHARS for secret in secrets)

    def _prepare(self) -> None:
        starts = defaultdict(list)
        for form in self._forms:
            starts[form[0]].append(form)
        self._longest = max(map(len, self._forms))
        self._pattern = re.compile(_one_of(sorted(self._forms)))
        self._starts = dict(starts)

    def __call__(self, text: str) -> str:
        """Return a text without secrets; the same object if it held none."""
        if self._pattern is None or len(text) < MIN_CHARS:
            return text
        parts, kept, at = [], 0, 0
        while at < len(text):
            ends_at = at + SLICE_CHARS
            found = self._pattern.search(text, at, ends_at + self._longest)
            if found is None or found.start() >= ends_at:
                at = ends_at
                continue
            parts += [text[kept : found.start()], MARK]
            kept = at = found.end()
        return "".join((*parts, text[kept:])) if parts else text

    def safe_until(self, text: str) -> int:
        """Return how much of the beginning of a text is clear, whatever comes behind it."""
        if self._pattern is None:
            return len(text)
        start = max(0, len(text) - self._longest + 1)
        until = next((at for at in range(start, len(text)) if self._is_open(text[at:])), len(text))
        for found in self._pattern.finditer(text):
            if found.start() < until < found.end():
                return found.start()
        return until

    def _is_open(self, end: str) -> bool:
        """Whether a secret begins like this and goes on."""
        return any(len(end) < len(form) and form.startswith(end) for form in self._starts.get(end[0], ()))


class Flow:
    """A text that comes in pieces: what could be the beginning of a secret is held back until it is clear."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._held = ""

    def through(self, piece: str) -> str:
        """Return what can be shown now; what was held back in the end is in the whole text."""
        text = self._held + piece
        safe = self._redaction.safe_until(text)
        self._held = text[safe:]
        return self._redaction(text[:safe])


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret in each of the forms that it is looked for in."""
    yield secret
    for is_ascii in (True, False):
        in_json = json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
        yield from (in_json, in_json.replace("/", "\\/"))
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    data = secret.encode(errors="surrogatepass")
    for before in range(3):
        # only characters all of whose bits are the secret's
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + data).decode()[first:last]


def _one_of(words: list[str]) -> str:
    """Return a pattern for any of some sorted words that goes wrong at the first character that fits none."""
    branches = []
    start = 0
    while start < len(words):
        end = start + 1
        while end < len(words) and words[end][0] == words[start][0]:
            end += 1
        shared = _shared(words[start], words[end - 1])
        rest = [word[len(shared) :] for word in words[start:end]]
        longer = [word for word in rest if word]
        below = f"(?:{_one_of(longer)}){'' if len(longer) == len(rest) else '?'}" if longer else ""
        branches.append(re.escape(shared) + below)
        start = end
    return "|".join(branches)


def _shared(first: str, last: str) -> str:
    """Return what the first and the last of some sorted words begin with, and so all between them."""
    count = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return min(first, last, key=len) if count is None else first[:count]
