"""Turns HTML into Markdown, in a process of its own.

Pages are hostile and parsers are not made for that: a page of 100 KB can keep one busy for half a minute. So the
gateway starts this file by its path, with limits of time and memory, and nothing of the page or of the library stays
in its memory. It reads one JSON object (`html`, `url`, `max_chars`) and writes another one (`title`, `text`, `is_cut`).
"""

import json
import os
import re
import sys

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

TITLE_CHARS = 300
_BLANK_LINES = re.compile(r"\n{3,}")


def main() -> None:
    """Read a page, write its text."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the library says would stand in the answer
    page = json.load(sys.stdin.buffer)
    limit = page["max_chars"]
    title = convert(page["html"]).metadata.document.title or ""
    text = convert(page["html"], _options(page["url"])).content or ""
    text = _BLANK_LINES.sub("\n\n", text).strip()
    answer = {
        "title": " ".join(title.split())[:TITLE_CHARS],
        "text": text[:limit],
        "is_cut": len(text) > limit,
    }
    print(json.dumps(answer))  # noqa: T201 - it is what the gateway reads


def _options(url: str) -> ConversionOptions:
    return ConversionOptions(
        extract_metadata=False,
        preprocessing=PreprocessingOptions(enabled=True, preset="aggressive"),
        skip_images=True,
        inline_data_media="drop_element",
        strip_tags=["script", "style", "noscript", "svg", "iframe"],
        base_url=url,
    )


if __name__ == "__main__":
    main()
