"""What an answer is."""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.results.report.phrases import finish_sentence

FASTER = "Which framework is faster, and by how much?"
SOLVED = "Which cells solve which task, up to which length?"
THRESHOLD = "Which clip threshold worked?"
GRADIENTS = "Where did gradients vanish or explode?"
AGREE = "Do the frameworks agree?"

MOST = 3
"""Places that a clause names; further ones are counted, and stand in the tables."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a result set says to one question.

    Attributes:
        question: what is asked.
        lead: what holds for all parts, empty or text that ends with a colon.
        parts: clauses without a full stop: one a cell, a task or a verdict.
        missing: whether the data carry no claim; the parts then say what is missing.
        verdicts: what the parts say as data: what `results.analysis` found, with its numbers.

    """

    question: str
    lead: str
    parts: tuple[str, ...]
    missing: bool = False
    verdicts: tuple[Any, ...] = ()

    @property
    def sentence(self) -> str:
        """The answer as one sentence."""
        return finish_sentence(f"{self.lead} {'; '.join(self.parts)}".strip())

    def lines(self) -> list[str]:
        """Return the lead, if there is one, and the parts; whole sentences without a lead."""
        return [self.lead, *self.parts] if self.lead else [*map(finish_sentence, self.parts)]
