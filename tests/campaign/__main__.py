"""The whole campaign: ``python -m tests.campaign [--share 0.02] [--only kills ...] [--out FILE]``.

Whole, it takes about an hour of two idle cores; what it found is published in results/published/campaign.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from farreach.benchmarks.running import environment
from farreach.results.storage.files import write_text
from tests.campaign import disks, inputs, kills, reports
from tests.campaign.runs import FaultError

Attack = Callable[[Path, int], Counter[str]]

ATTACKS: dict[str, tuple[int, str, Attack]] = {
    "kills": (
        210,
        "runs hit by a signal at a random moment, then carried on: no row lost, the same bits",
        kills.attack_runs,
    ),
    "reports": (30, "reports killed at a random moment, made whole by the next command", reports.attack_reports),
    "disks": (
        5,
        "disks that fill, and as many that turn read-only, under a run: one line, then the same bits",
        disks.attack_disks,
    ),
    "inputs": (5_000, "mutated inputs through the commands: done, or refused in one line", inputs.attack_commands),
    "processes": (300, "mutated inputs through commands in processes of their own", inputs.attack_processes),
}
"""Each attack, how many there are of it in a whole campaign, and what must hold."""


def run_attacks(names: Iterable[str], share: float) -> list[str]:
    """Run attacks, each in a folder of its own; return a paragraph for each. Raises `FaultError` where one succeeds."""
    told = []
    for name in names:
        count, what, attack = ATTACKS[name]
        count = max(1, round(share * count))
        with tempfile.TemporaryDirectory(prefix="farreach-campaign-", ignore_cleanup_errors=True) as place:
            if name == "disks" and not disks.can_mount(Path(place)):
                told.append("**disks**: not tried: only who may mount a file system can.\n")
                continue
            start = time.monotonic()
            tally = attack(Path(place), count)
            minutes = (time.monotonic() - start) / 60
        lines = "".join(f"- {kind}: {number:,}\n" for kind, number in sorted(tally.items()))
        told.append(f"**{name}**: {count:,} {what}. {minutes:.1f} min.\n\n{lines}")
        sys.stdout.write(f"{told[-1]}\n")
        sys.stdout.flush()
    return told


def main() -> int:
    """Run what is asked for and write what was found; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="run this share of each attack")
    parser.add_argument("--only", nargs="+", choices=[*ATTACKS], default=[*ATTACKS], help="run these attacks")
    parser.add_argument("--out", type=Path, help="write what was found to this Markdown file")
    asked = parser.parse_args()
    try:
        told = run_attacks(asked.only, asked.share)
    except FaultError as fault:
        sys.stderr.write(f"fault: {fault}\n")
        return 1
    if asked.out:
        words = ["python", "-m", "tests.campaign", *sys.argv[1:]]
        made = f"Made by `{shlex.join(words)}` at commit {environment.read_commit()}. It found no fault."
        write_text(asked.out, "\n".join(["# Attacks on runs, reports, disks and inputs\n", f"{made}\n", *told]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
