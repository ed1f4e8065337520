"""Plant faults one at a time and run the tests that should notice: ``python -m tests.mutants --help``."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from farreach import granted
from tests.mutants import sampling
from tests.mutants.forking import Ending, Errand, copy_project, import_libraries, run_errands
from tests.mutants.results import count_caught, find_shortfalls, list_survivors, recall_endings, write_results
from tests.mutants.table import HERE, Mutant, TableError, load_faults

SOME = 40
"""Mutants after which what was found is kept."""


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
    with copy_project() as project:
        if not options.no_check and not check_unchanged(list_first(mutants), project, options.jobs):
            return 2
        endings = run_mutants(mutants, project, options)
        if not check_unchanged([Errand(tests) for tests in list_catching(endings)], project, options.jobs):
            return 2
    ended = list(zip(mutants, endings, strict=True))
    shortfalls = find_shortfalls(ended)
    for line in list_survivors(ended):
        print(f"survived: {line}")
    for line in [*(score.describe() for score in count_caught(ended)), *shortfalls]:
        print(line)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes, {options.jobs} at a time")
    return 1 if shortfalls else 0


def run_mutants(mutants: Sequence[Mutant], project: Path, options: argparse.Namespace) -> list[Ending]:
    """Plant each fault and run its tests; with `out` keep what was found from time to time, and take it up again."""
    known = recall_endings(options.out, mutants, project) if options.out else []
    endings = known or [*itertools.repeat(None, len(mutants))]
    facts = collect_facts(options)
    waiting = [at for at, ending in enumerate(endings) if ending is None]
    print(f"{len(mutants) - len(waiting)} of {len(mutants)} are known to be caught")
    for first in range(0, len(waiting), SOME):
        some = waiting[first : first + SOME]
        errands = [Errand(mutants[at].tests, mutant=mutants[at]) for at in some]
        for at, ending in zip(some, run_errands(errands, project, options.jobs, _say_mutant), strict=True):
            endings[at] = ending
        if options.out:
            ended = [(mutant, ending) for mutant, ending in zip(mutants, endings, strict=True) if ending]
            write_results(options.out, ended, facts, project)
    return [ending for ending in endings if ending]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="names of faults or parts of their files' paths; without any: all")
    parser.add_argument("--sample", type=int, default=None, metavar="N", help="draw N mutants beside, by Cosmic Ray")
    parser.add_argument("--seed", type=int, default=sampling.SEED, help="of the sample")
    parser.add_argument("--table", type=Path, default=HERE / "faults", help="folder of the tables of faults")
    parser.add_argument("--no-table", action="store_true", help="run what is sampled alone")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="run each N-th alone")
    parser.add_argument("--jobs", type=int, default=min(2, granted.count_cores()), help="how many at a time")
    parser.add_argument(
        "--out", type=Path, help="folder for mutants.json and mutants.md; what they say was caught is not run again"
    )
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not run the first tests without a fault before; those that notice one are run without in the end",
    )
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


def list_first(mutants: Sequence[Mutant]) -> list[Errand]:
    """Return what must pass before a fault is planted: every test is there, and the first ones of each mutant pass."""
    every = dict.fromkeys(choice for mutant in mutants for choice in mutant.tests)
    first = dict.fromkeys(mutant.tests[0] for mutant in mutants)
    return [Errand((*every,), only_collect=True), *(Errand((choice,)) for choice in first)]


def list_catching(endings: Sequence[Ending]) -> list[tuple[str, ...]]:
    """Return the tests that noticed a fault, a group for each file: they count where they pass without one."""
    files: dict[str, dict[str, None]] = {}
    for ending in endings:
        path, found, name = ending.test.partition("::")
        if found:
            files.setdefault(path, {})[f"{path}: ^{re.escape(name)}$"] = None
    return [(*choices,) for choices in files.values()]


def check_unchanged(errands: Sequence[Errand], project: Path, jobs: int) -> bool:
    """Run tests on the code as it is; return whether all passed, and print those that did not."""
    endings = run_errands(errands, project, jobs, lambda errand, ending: _say(errand.tests[0], ending))
    wrong = [
        f"{ending.verdict} {ending.test or ', '.join(errand.tests)}"
        for errand, ending in zip(errands, endings, strict=True)
        if ending.verdict != "passed"
    ]
    if wrong:
        print("error: these tests do not pass without any fault:", *wrong, sep="\n", file=sys.stderr)
    return not wrong


def collect_facts(options: argparse.Namespace) -> dict[str, str]:
    """Return what is published beside the counts."""
    from farreach.benchmarks.running import environment  # noqa: PLC0415 - no fork may have it

    facts = environment.collect_facts()
    named = {"command": "tox -e mutants", "commit": str(facts["commit"]), "Python": str(facts["python"])}
    return named | ({"seed": str(options.seed)} if options.sample else {})


def _say_mutant(errand: Errand, ending: Ending) -> None:
    _say(errand.mutant.name if errand.mutant else "", ending)


def _say(what: str, ending: Ending) -> None:
    print(f"{ending.verdict:12} {ending.seconds:5.0f} s  {what}  {ending.test}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
