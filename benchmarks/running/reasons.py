"""Why something failed, in one line: what the library says is wrong, which is not always the first line it writes."""

from __future__ import annotations

import re

NOISE = re.compile(r"\x1b\[[0-9;]*m|\{\{\w+_node [^{}]*\}\} *")
"""Colours of a terminal, and TensorFlow's name of the operation that stands before a message."""

PREFACE = re.compile(
    r"in user code:|Exception encountered when calling .*|The following operation failed in the TorchScript .*"
    r"|.* raised:|.* when making fake tensor call"
)
"""First lines that only say where something failed: TensorFlow's, Keras's, TorchScript's and the PyTorch compiler's."""

NESTED = re.compile(r"^\s*(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Failed)): *(\S.*)$", re.MULTILINE)
"""The last line of a traceback within a message."""

EXPLANATION = re.compile(r"^\s*Explanation: *(\S.*)$", re.MULTILINE)
"""How the PyTorch compiler begins its message."""


def write_reason(error: BaseException) -> str:
    """Return the kind of an error and its message, one line."""
    text = NOISE.sub("", str(error))
    kind, lines = type(error).__name__, [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return f"{kind}: no message"
    if not PREFACE.fullmatch(lines[0]):
        return f"{kind}: {' '.join(lines[: 2 if lines[0].endswith(':') else 1])}"
    if nested := NESTED.findall(text):
        return "{}: {}".format(*nested[-1])
    explained = EXPLANATION.search(text)
    return f"{kind}: {explained[1] if explained else ' '.join(lines[1:2] or lines)}"
