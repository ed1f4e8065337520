"""Text that may be shown: without the characters that a terminal obeys and a page turns around."""

from __future__ import annotations

import re

CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
"""All control characters but tab and line break, as part of a pattern."""

# Besides: the marks that turn the direction of what follows them, further line breaks, and halves of characters.
ODD = re.compile(rf"[{CONTROL}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

INSTEAD = "\N{REPLACEMENT CHARACTER}"


def clean_text(text: str) -> str:
    """Return text with `INSTEAD` for each character that does something else than to be shown."""
    return ODD.sub(INSTEAD, text)


def format_line(value: object, most: int = 500) -> str:
    """Return what is shown of a value on one line: clean, without line breaks, and no longer than `most`."""
    text = clean_text(" ".join(str(value)[: 4 * most].split()))
    return text if len(text) <= most else f"{text[: most - 3]}..."
