"""Plant faults one at a time and run the tests that should notice: ``python -m tests.mutants --help``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants import sampling
from tests.mutants.forking import Ending, Errand, import_libraries, run_errands
from tests.mutants.results import count_caught, find_shortfalls, list_survivors, write_results
from tests.mutants.table import HERE, Mutant, TableError, load_faults

PATIENCE = 60.0
"""Seconds beyond four times what the tests take on the right code; a mutant that takes longer hangs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 where too much survives, 2 for bad input."""
    options = make_parser().parse_args(arguments)
    try:
        mutants = choose_mutants(options)
    except TableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not mutants:
        print("error: no fault has such a name or such a file", file=sys.stderr)
        return 2
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name} {mutant.file}: {mutant.breaks}")
        return 0
    import_libraries()
    start = time.monotonic()
    seconds, failures = run_unchanged(mutants, options.jobs)
    if failures:
        print("error: without any fault these tests fail:", *failures, sep="\n", file=sys.stderr)
        return 2
    endings = run_mutants(mutants, seconds, options.jobs)
    scores = count_caught(mutants, endings)
    shortfalls = find_shortfalls(scores, list(zip(mutants, endings, strict=True)))
    for line in list_survivors(mutants, endings):
        print(f"survived: {line}")
    for line in [*(score.describe() for score in scores), *shortfalls]:
        print(line)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes, {options.jobs} at a time")
    if options.out:
        write_results(options.out, mutants, endings, collect_facts(options))
    return 1 if shortfalls else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="names of faults or parts of their files' paths; without any: all")
    parser.add_argument("--sample", type=int, default=None, metavar="N", help="draw N mutants beside, by Cosmic Ray")
    parser.add_argument("--seed", type=int, default=sampling.SEED, help="of the sample")
    parser.add_argument("--table", type=Path, default=HERE / "faults", help="folder of the tables of faults")
    parser.add_argument("--no-table", action="store_true", help="run what is sampled alone")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="run each N-th alone")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="how many at a time")
    parser.add_argument("--out", type=Path, help="folder for mutants.json and mutants.md")
    parser.add_argument("--list", action="store_true", help="print the faults and run nothing")
    return parser


def choose_mutants(options: argparse.Namespace) -> list[Mutant]:
    """Return the faults that were asked for, of the table and sampled."""
    mutants = [] if options.no_table else load_faults(options.table)
    if options.sample:
        mutants += sampling.sample_mutants(options.sample, options.seed)
    if options.names:
        mutants = [one for one in mutants if any(name == one.name or name in one.file for name in options.names)]
    return mutants[:: options.share]


def run_unchanged(mutants: Sequence[Mutant], jobs: int) -> tuple[dict[str, float], list[str]]:
    """Run each choice of tests on the right code; return the seconds that each took, and which failed."""
    choices = list(dict.fromkeys(choice for mutant in mutants for choice in mutant.tests))
    errands = [Errand((choice,), limit=900.0) for choice in choices]
    endings = run_errands(errands, jobs, lambda errand, ending: _say(errand.tests[0], ending))
    failures = [
        f"{choice} ({ending.verdict} {ending.test})"
        for choice, ending in zip(choices, endings, strict=True)
        if ending.verdict != "passed"
    ]
    return {choice: ending.seconds for choice, ending in zip(choices, endings, strict=True)}, failures


def run_mutants(mutants: Sequence[Mutant], seconds: dict[str, float], jobs: int) -> list[Ending]:
    """Plant each fault and run its tests, within a limit that the right code keeps easily."""
    errands = [
        Errand(one.tests, limit=PATIENCE + 4 * sum(seconds[choice] for choice in one.tests), mutant=one)
        for one in mutants
    ]
    return run_errands(errands, jobs, lambda errand, ending: _say(errand.mutant.name if errand.mutant else "", ending))


def collect_facts(options: argparse.Namespace) -> dict[str, str]:
    """Return what is published beside the counts."""
    from farreach.benchmarks.running import environment  # noqa: PLC0415 - no fork may have it

    facts = environment.collect_facts()
    named = {"command": "tox -e mutants", "commit": str(facts["commit"]), "Python": str(facts["python"])}
    return named | ({"seed": str(options.seed)} if options.sample else {})


def _say(what: str, ending: Ending) -> None:
    print(f"{ending.verdict:12} {ending.seconds:5.0f} s  {what}  {ending.test}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
