"""What a campaign found: counts, a table of what survived, and the files that are published."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.mutants.forking import Ending
from tests.mutants.table import ROOT, Mutant

SAMPLED = "sampled"
BY_HAND, DRAWN = "Planted by hand", "Sampled"
LEAST = {BY_HAND: 0.97, DRAWN: 0.85}
"""The share that is to be caught, where `ENOUGH` were planted."""
ENOUGH = 100


@dataclasses.dataclass(frozen=True)
class Score:
    """How many of a kind of mutants were caught, and how; a hang is caught, and told apart."""

    kind: str
    planted: int
    endings: dict[str, int]

    @property
    def caught(self) -> int:
        """Those after which the tests did not pass."""
        return self.planted - self.endings.get("passed", 0)

    def describe(self) -> str:
        """Return one sentence."""
        how = {
            "failed": "by a test that failed",
            "not imported": "when the file was imported",
            "hung": "when they went on for too long",
            "crashed": "by the end of the process",
        }
        ways = ", ".join(f"{self.endings[ending]} {words}" for ending, words in how.items() if self.endings.get(ending))
        share = f"{self.caught / self.planted:.1%}" if self.planted else "none"
        return f"{self.kind}: {self.caught} of {self.planted} caught ({share}){': ' + ways if ways else ''}"


def hash_text(text: str) -> str:
    """Return the first half of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_tests(test: str, project: Path) -> str:
    """Return the hash of the file that a test, by its node id, stands in; nothing where there is none."""
    path = project / test.partition("::")[0]
    return hash_text(path.read_text("utf-8")) if path.is_file() else ""


def recall_endings(out: Path, mutants: Sequence[Mutant], project: Path) -> list[Ending | None]:
    """Return how the mutants ended that an earlier campaign caught, by a test that is still the same; None for others.

    Args:
        out: the folder that `write_results` wrote, or one that is not there.
        mutants: those that are asked for, by their texts and not by their names.
        project: the folder of the tests.

    """
    path = out / "mutants.json"
    rows = json.loads(path.read_text("utf-8"))["mutants"] if path.exists() else []
    known = {
        (row["file"], row["text"]): Ending(row["verdict"], row["test"], row["seconds"])
        for row in rows
        if row["verdict"] != "passed" and row["tests"] == hash_tests(row["test"], project)
    }
    return [known.get((mutant.file, hash_text(mutant.text))) for mutant in mutants]


def is_sampled(mutant: Mutant) -> bool:
    """Return whether a mutant was drawn, not written by hand."""
    return mutant.name.startswith(SAMPLED)


def count_caught(ended: Sequence[tuple[Mutant, Ending]]) -> list[Score]:
    """Return the scores of the faults that were written by hand and of those that were sampled, apart."""
    scores = []
    for kind, sampled in ((BY_HAND, False), (DRAWN, True)):
        mine = [ending for mutant, ending in ended if is_sampled(mutant) == sampled]
        if mine:
            scores.append(Score(kind, len(mine), dict(Counter(ending.verdict for ending in mine))))
    return scores


def list_survivors(ended: Sequence[tuple[Mutant, Ending]]) -> list[str]:
    """Return a line for each mutant that no test noticed."""
    return [
        f"{mutant.name} {mutant.file}: {mutant.breaks}" + (f" ({mutant.survives})" if mutant.survives else "")
        for mutant, ending in ended
        if ending.verdict == "passed"
    ]


def find_shortfalls(ended: Sequence[tuple[Mutant, Ending]]) -> list[str]:
    """Return what is not as it should be: too small a share, and faults that survive without a known reason."""
    few = [
        f"fewer than {LEAST[score.kind]:.0%} were caught: {score.describe()}"
        for score in count_caught(ended)
        if score.planted >= ENOUGH and score.caught < LEAST[score.kind] * score.planted
    ]
    unknown = [
        f"{mutant.name} survived and no reason is known"
        for mutant, ending in ended
        if ending.verdict == "passed" and not is_sampled(mutant) and not mutant.survives
    ]
    return few + unknown


def write_results(
    out: Path, ended: Sequence[tuple[Mutant, Ending]], facts: dict[str, Any], project: Path = ROOT
) -> None:
    """Write ``mutants.json``, each mutant and how it ended, and ``mutants.md``, the counts and who survived."""
    scores = count_caught(ended)
    rows = [
        {"name": mutant.name, "file": mutant.file, "breaks": mutant.breaks, "verdict": ending.verdict}
        | {"test": ending.test, "seconds": round(ending.seconds, 1)}
        | {"text": hash_text(mutant.text), "tests": hash_tests(ending.test, project)}
        | ({"survives": mutant.survives} if mutant.survives else {})
        for mutant, ending in ended
    ]
    counts = [dataclasses.asdict(score) | {"caught": score.caught} for score in scores]
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"facts": facts, "scores": counts, "mutants": rows}, indent=1, ensure_ascii=False)
    (out / "mutants.json").write_text(text + "\n", "utf-8")
    survivors = list_survivors(ended)
    made = ", ".join(f"{name} {value}" for name, value in facts.items() if name != "command")
    how = (
        f"Made by `{facts['command']}`: one fault at a time is planted in a copy of the project, and the quick tests of"
    )
    how += f" its file are run until one fails ({made}). [Every fault and the test that caught it](mutants.json)."
    lines = [
        "# Faults that the tests notice",
        how,
        "\n".join(f"- {score.describe()}." for score in scores),
        "## Not noticed",
        "\n".join(f"- {line.replace('|', chr(92) + '|')}" for line in survivors) or "None.",
    ]
    (out / "mutants.md").write_text("\n\n".join(lines) + "\n", "utf-8")
