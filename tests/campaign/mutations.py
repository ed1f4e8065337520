"""Inputs changed at random: bytes, values of a JSON object, words of a command line."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.commands import ODD_WORDS

ODD: list[Any] = [
    *(None, True, False, 0, -1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0, 5e-324, "", " ", "x" * 5_000, "\x1b[2J"),
    *(
        "../../../victim",
        "/etc/passwd",
        "<script>alert(1)</script>",
        "=1+1",
        "@SUM(A1)",
        "$\\frac$",
        "\\input{/etc/passwd}",
    ),
    *("%s%n", "{0}", "\u202e", "\ud800", "\u0000", "a\nb", "hub:attacker/x", "hub:..", "nan", "-inf"),
    *([], {}, [[]], [None] * 100, {"a": {"b": {"c": []}}}, [1e999]),
]
"""What a stranger may put where a number or a word belongs."""

WORDS = [
    *ODD_WORDS,
    *("--allow-hub", "worse", "1/2", "--live", "cell=rnn", "--shard", "/nowhere", "--table"),
    *("--top", "--limit", "--as", "quick", "--fail-on", "csv"),
]
"""What a command line is made of."""


def mutate_bytes(dice: random.Random, content: bytes) -> bytes:
    """Change a few bytes: overwrite, delete, insert, cut off, repeat."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at, how = dice.randrange(len(changed) + 1), dice.randrange(5)
        if how == 0 and at < len(changed):
            changed[at] = dice.randrange(256)
        elif how == 1:
            del changed[at : at + dice.randint(1, 40)]
        elif how == 2:
            changed[at:at] = dice.randbytes(dice.randint(0, 12))
        elif how == 3 and dice.random() < 0.3:
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + dice.randint(1, 60)]
    return bytes(changed)


def mutate_json(dice: random.Random, content: bytes) -> bytes:
    """Change a few bytes, or put odd values in the places of others, at any depth."""
    if dice.random() < 0.3:
        return mutate_bytes(dice, content)
    odd = json.loads(content)
    for _ in range(dice.randint(1, 2)):
        part = odd
        while isinstance(part, dict | list) and part:
            key = dice.choice(sorted(part)) if isinstance(part, dict) else dice.randrange(len(part))
            if not isinstance(part[key], dict | list) or dice.random() < 0.3:
                part[key] = dice.choice(ODD)
                break
            part = part[key]
    return json.dumps(odd).encode()
