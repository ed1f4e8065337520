"""Sentences are written in results/report alone: what results/analysis returns is data."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis.diagnosis import LABELS

ANALYSIS = registry.ROOT / "results" / "analysis"
WORDS = 3
"""A string of more words than this is prose, unless it documents the code or is an error's message."""

LABELS_MODULE = ANALYSIS / "labels.py"
"""Where facts become labels: a step's is longer than three words."""

ERRORS = {"message"}
"""Names that the message of an error has on its way into the error."""


def list_prose(source: str) -> list[str]:
    """Return the strings of a module that are neither documentation nor messages of errors, and longer than a name."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        targets = node.targets if isinstance(node, ast.Assign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if documents or isinstance(node, ast.Raise) or ERRORS & set(names):
            skipped |= {id(part) for part in ast.walk(node)}
    texts = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node)}
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return [text for text in texts if text not in LABELS and is_prose(text)]


def is_prose(text: str) -> bool:
    """Say whether a text has more than `WORDS` words, one after another."""
    words = re.findall(r"[^\W\d_]{2,}|\{\}", text)
    return len(words) > WORDS and bool(re.search(r"[a-z] [a-z{]", text))


def test_a_sentence_is_found_wherever_it_stands() -> None:
    source = '''
def write(one):
    """Return a sentence that documents this function."""
    message = "nobody reads what an error says here"
    raise ValueError(message)
    return f"{one} is faster than the other", ["name", "95 % interval"], "the frameworks agree with each other"
'''
    assert list_prose(source) == ["{} is faster than the other", "the frameworks agree with each other"]


@pytest.mark.parametrize("path", sorted({*ANALYSIS.rglob("*.py")} - {LABELS_MODULE}), ids=lambda path: path.stem)
def test_analysis_returns_no_prose(path: Path) -> None:
    assert list_prose(path.read_text(encoding="utf-8")) == []
