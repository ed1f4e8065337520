"""All checks of `farreach.benchmarks.studies.certification` in live workers, and the certificates that come of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import environment
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.studies import certification, split_checks
from farreach.benchmarks.studies.certification import Check
from farreach.benchmarks.studies.messages import Certify, Differences
from farreach.frameworks.base import Device
from farreach.frameworks.layouts import LAYOUTS
from farreach.results.analysis import certificates
from farreach.results.record import number
from farreach.results.storage.certificates import CheckResult

UNSPLIT = {"replicas": 1, "microbatches": 1, "clip_at": "after"}
"""What --only says where it is about no update in parts."""

STAMP = ("commit", "framework_version", "variables", "processor", "python", "numpy", "device_name", "precision")
"""The facts that must be the same where what a check found before stands for running it again."""

FRESH = 100
"""Checks in one process: XLA keeps the programs of each, some 170 maps of memory, and Linux grants a process 65,530."""


def choose_checks(only: list[str], device: Device = "cpu") -> dict[str, list[Check]]:
    """Return the checks by framework that meet every KEY=VALUE; raise `UsageError` where that is none."""
    everything = [
        check
        for framework in registry.list_compared()
        for part in list_lists(framework, only, device)
        for check in part
    ]
    fields = [field.name for field in dataclasses.fields(Check)]
    if any(text.startswith("microbatches=") for text in only) and not any(
        text.startswith("replicas=") for text in only
    ):
        only = [*only, "replicas=1"]  # of several replicas where that is said
    wanted: dict[str, set[str]] = {}
    for text in only:
        key, _, value = text.partition("=")
        registry.require_name("key", key, fields)
        registry.require_name(key, value, sorted({str(getattr(check, key)) for check in everything}))
        wanted.setdefault(key, set()).add(value)
    every = [check for check in everything if all(str(getattr(check, key)) in values for key, values in wanted.items())]
    if not every:
        message = f"no check has {' and '.join(only)}"
        raise registry.UsageError(message)
    named = "framework" in wanted
    by_framework: dict[str, list[Check]] = {}
    for check in every:
        if named or registry.find_framework_version(check.framework):
            by_framework.setdefault(check.framework, []).append(check)
    for framework in by_framework:
        registry.require_framework(framework)
    return by_framework


def list_lists(framework: str, only: list[str], device: Device = "cpu") -> list[list[Check]]:
    """Return the lists of checks that --only is about: of updates in parts where it says so, else of all others.

    A certificate comes of a list that ran whole. Each is of one family of architectures, since the digests of two are
    never the same.
    """
    values = dict.fromkeys(split_checks.KEYS, "") | dict(text.split("=", 1) for text in only if "=" in text)
    if all(values[key] in {"", str(usual)} for key, usual in UNSPLIT.items()):
        together = [certification.list_checks(framework, device)]
    else:
        together = split_checks.list_everything(framework, device)
    families = dict.fromkeys(layout.family for layout in LAYOUTS.values())
    return [
        [check for check in part if LAYOUTS[check.cell].family == family] for part in together for family in families
    ]


def find_whole(framework: str, checks: Iterable[Check], only: list[str], device: Device = "cpu") -> list[Check]:
    """Return those of the chosen checks whose lists were chosen whole."""
    chosen = {*checks}
    return [check for part in list_lists(framework, only, device) if chosen.issuperset(part) for check in part]


def is_made_of(certificate: Mapping[str, Any], checks: Collection[Check]) -> bool:
    """Say whether all checks in a certificate are some of these."""
    names = [field.name for field in dataclasses.fields(Check)]
    return all(Check(**{name: result[name] for name in names}) in checks for result in certificate["checks"])


def require_clean_commit(folder: Path) -> None:
    """Raise `UsageError` where what runs is not exactly a commit: what is published must be found again."""
    commit = environment.read_commit()
    if commit == environment.RELEASE or commit.endswith(environment.CHANGED):
        message = f"{folder} takes certificates of a commit alone, and this is {commit}: commit first, or give --out"
        raise registry.UsageError(message)


def make_certificates(
    framework: str, checks: Iterable[Check], log: Path, device: Device = "cpu"
) -> tuple[list[dict[str, Any]], list[CheckResult]]:
    """Hold one framework on one device against the reference in these checks; return its certificates and all checks.

    There is one for each digest: of its own checks, and of those in float64 of the same cells, which are about the
    same arithmetic. A check that could not be run has no digest, and stands in each of its cell.

    What was found is kept beside the log: who is stopped and begins again, on the same commit, goes on where it was.
    """
    facts = environment.collect_facts()  # of the start: the checkout may move on while this runs
    started = environment.read_clock()
    worker = Live(framework, device, 1, log / f"{framework}.log")
    results: list[Any] = []  # `CheckResult`, and in them kernel and digest
    try:
        worker.start()
        answers = Answers(log / f"{framework}.jsonl", facts | worker.facts)
        asked = 0
        for check in checks:
            found = answers.find(check)
            if found is None:
                if asked and asked % FRESH == 0:
                    worker.stop()  # the next check starts it again
                asked += 1
                found = _ask(worker, check)
                answers.keep(check, found)
            results.append(dataclasses.asdict(check) | found)
    except StartError as error:
        raise registry.UsageError(str(error)) from error
    finally:
        worker.stop()
    made = []
    for digest in sorted({result["digest"] for result in results} - {""}):
        own = [result for result in results if result["digest"] == digest]
        cells = {_name_cell(result) for result in own}
        about = [
            result
            for result in results
            if result["digest"] == digest
            or (_name_cell(result) in cells and (result["dtype"] == "float64" or not result["digest"]))
        ]
        made.append(
            {
                "digest": digest,
                "framework": framework,
                "framework_version": worker.facts["framework_version"],
                "kernel": own[0]["kernel"],
                "dtype": own[0]["dtype"],
                "device": device,
                "path": own[0]["path"],
                "variables": worker.facts["variables"],
                "bounds": certificates.BOUNDS,
                "steps": certification.STEPS,
                "started": started,
                **facts,
                "checks": about,
            }
        )
    return made, results


def _ask(worker: Live, check: Check) -> dict[str, Any]:
    """Return what a check found: its differences, the kernel and the digest, or why it could not be run."""
    found: dict[str, Any] = {"differences": {}, "kernel": "", "digest": "", "fault": None}
    try:
        answer = worker.ask(Certify(check, certification.STEPS), Differences)
    except CaseFailedError as error:
        return found | {"fault": str(error)}
    differences = {name: number(value) for name, value in answer.values.items()}
    return found | {"differences": differences, "kernel": answer.kernel, "digest": answer.digest}


class Answers:
    """What checks found, a line each in a file, for who begins again; of another commit or machine nothing counts."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.stamp = {name: str(facts.get(name, "")) for name in STAMP} | {"steps": str(certification.STEPS)}
        self.is_kept = not self.stamp["commit"].endswith(environment.CHANGED)
        self.known: dict[str, dict[str, Any]] = {}
        if not self.is_kept or not path.exists():
            return
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                known = json.loads(line)
                if known["stamp"] == self.stamp:
                    self.known[known["check"]] = known["found"]
            except (ValueError, KeyError, TypeError):
                continue  # half a line, of who was killed as it wrote it: the check is run again

    def find(self, check: Check) -> dict[str, Any] | None:
        """Return what a check found before, None where it has not been run."""
        return self.known.get(_name_check(check))

    def keep(self, check: Check, found: dict[str, Any]) -> None:
        """Add what a check found; one that could not be run is tried again."""
        if self.is_kept and found["fault"] is None:
            line = json.dumps({"stamp": self.stamp, "check": _name_check(check), "found": found})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # on a line of its own, even behind half of one


def _name_check(check: Check) -> str:
    return json.dumps(dataclasses.asdict(check), sort_keys=True)


def _name_cell(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["cell"], result["activation"], result["path"]
