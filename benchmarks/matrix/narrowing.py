"""What --only means: of things that are described by words, those that meet every KEY=VALUE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from farreach.benchmarks.matrix import registry
from farreach.results.storage.sanitising import format_line

Words = dict[str, set[str]]
"""What one thing is: under each key a value, or several of which it has each."""


def parse_only(only: list[str]) -> dict[str, list[str]]:
    """Return the values that --only asks for under each key; raise `UsageError` where one is no KEY=VALUE."""
    asked: dict[str, list[str]] = {}
    for text in only:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            message = f"--only takes KEY=VALUE, not {text!r}"
            raise registry.UsageError(message)
        asked.setdefault(key, []).append(value)
    return asked


def find_matches(described: Sequence[Words], only: list[str], where: str) -> list[int]:
    """Return the places of those that meet every KEY=VALUE; values of the same key are alternatives.

    Raises `UsageError`, with what `where` has instead, where a key or a value is not there or nothing is left.
    """
    keys = sorted({key for words in described for key in words})
    asked = parse_only(only)
    for key, values in asked.items():
        registry.require_name("key", key, keys)
        there = sorted({value for words in described for value in words.get(key, ())}, key=_order_number)
        for value in values:
            if normalise(value) not in there:
                listed = ", ".join(there[:MOST]) + (f" and {len(there) - MOST} more" if len(there) > MOST else "")
                message = f"{where} has no case with {key}={format_line(value)}; it has: {listed}"
                raise registry.UsageError(message)
    places = [
        at
        for at, words in enumerate(described)
        if all(words.get(key, set()) & {normalise(value) for value in values} for key, values in asked.items())
    ]
    if not places:
        message = f"{where} has no case with {format_line(' and '.join(only))}"
        raise registry.UsageError(message)
    return places


UNKNOWN = {"nan", "<NA>"}

MOST = 40
"""Values that a message lists."""


def to_words(values: Mapping[str, object]) -> Words:
    """Return values as words, a set as each of its own; those that are not known (None, NaN) are left out."""
    several = {key: value if isinstance(value, set) else {value} for key, value in values.items()}
    texts = {key: {normalise(item) for item in value if item is not None} - UNKNOWN for key, value in several.items()}
    return {key: value for key, value in texts.items() if value}


def normalise(value: object) -> str:
    """Write a value as one text, so that 1, 1.0 and "1.00" are the same."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def _order_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def join_facts(facts: Mapping[str, object]) -> str:
    """Write facts as --only takes them: ``T=30 clip=norm threshold=1``."""
    return " ".join(f"{key}={normalise(value)}" for key, value in facts.items())
