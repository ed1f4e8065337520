"""The digest of a row: of the code and the settings that can move a number of its kind of case.

A certificate is named by it. The code is that of the framework's folder, by its imports, of the first weights, the
loop that trains, the gradient probe, and what `farreach.tasks.base` does to batches and scores. Of the architectures'
files it is the one that runs the case, and those that this one imports. The data of a task are not in it: they have a
version of their own. Nor is the processor: see docs/certificates.md.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.source import find_closure, hash_files
from farreach.benchmarks.running.worker_client import Live
from farreach.frameworks.environment import read_variables
from farreach.frameworks.layouts import LAYOUTS

STARTS = (
    *("benchmarks/matrix/recipes.py", "benchmarks/running/gradient_probe.py", "benchmarks/running/training.py"),
    *("frameworks/weights.py", "tasks/base.py"),
)
"""The files that every case goes through, whichever its framework."""

STARTS_OF: dict[str, tuple[str, ...]] = {"": (), "replicas": ("frameworks/split.py",), "mixed": ()}
"""The files that the cases of a variant go through beside."""

GROUP = ("benchmarks/replica.py", "benchmarks/running/replicas.py")
"""And those of several replicas."""

ROOMS = ("frameworks/", "tasks/base.py")
"""What is followed: what those files import elsewhere reads and writes, and computes nothing."""

DEVICE = ("precision", "device_software", "device_settings")
"""The facts of a device that can move a number, where it has them."""

UNSETTLED: dict[str, tuple[str, ...]] = {"": (), "replicas": (), "mixed": ("precision",)}
"""Those of them that a variant's case measures itself, so that no other process knows them; its kernel names them."""

LENGTH = 16
"""Characters of a digest."""


class Kind(Protocol):
    """What a digest is about: a case, or the check of a certificate."""

    @property
    def framework(self) -> str: ...  # noqa: D102

    @property
    def mode(self) -> str: ...  # noqa: D102

    @property
    def device(self) -> str: ...  # noqa: D102

    @property
    def dtype(self) -> str: ...  # noqa: D102

    @property
    def path(self) -> str: ...  # noqa: D102

    @property
    def variant(self) -> str: ...  # noqa: D102

    @property
    def cell(self) -> str: ...  # noqa: D102

    @property
    def replicas(self) -> int: ...  # noqa: D102


@functools.cache
def list_files(framework: str, mode: str, cell: str, variant: str = "", *, grouped: bool = False) -> list[str]:
    """Return the files whose code can move a number of a cell's cases in a mode, below the folder of the rooms."""
    first = (variant or "__init__") if mode == registry.MATCHED else mode
    starts = [*STARTS, f"frameworks/{framework}/{first}.py", *STARTS_OF[variant]]
    starts += GROUP if grouped else ()
    if registry.has_part(framework, "gradient_flow"):
        starts.append(f"frameworks/{framework}/gradient_flow.py")
    return find_closure(registry.find_source, starts, ROOMS, _cut_families(framework, cell))


def _cut_families(framework: str, cell: str) -> dict[str, set[str]]:
    """Return the files of the families that do not run a cell: the file that chooses between them imports all."""
    if cell not in LAYOUTS:  # of a plug-in, which chooses by itself
        return {}
    others = {layout.family for layout in LAYOUTS.values()} - {LAYOUTS[cell].family}
    return {f"frameworks/{framework}/networks.py": {f"frameworks/{framework}/{family}.py" for family in others}}


def make_digest(case: Kind, kernel: str) -> str:
    """Return the digest of a case that is trained in this process by this kernel."""
    facts = importlib.import_module(f"farreach.frameworks.{case.framework}").Framework.facts(case.device)
    return _hash_settings(case, facts | read_variables(os.environ) | {"kernel": kernel})


def predict_digest(case: Case, row: Mapping[str, Any]) -> str:
    """Return the digest that a case would have here now, on the kernel and the device of an earlier row of it."""
    worker = Live(case.framework, case.device, case.threads, Path(os.devnull))
    return _hash_settings(case, dict(row) | read_variables(worker.make_environment()))


def _hash_settings(case: Kind, facts: Mapping[str, Any]) -> str:
    needs = {*registry.list_needs(case.framework), *registry.list_needs(case.framework, case.mode), "numpy"}
    settings = {
        "code": hash_case(case),
        "versions": {name: registry.find_version(name) for name in sorted(needs)},
        "case": [case.framework, case.mode, case.device, case.dtype, case.path],
        "kernel": facts["kernel"],
        "device": [facts.get(name) or "" for name in DEVICE if name not in UNSETTLED[case.variant]],
        "variables": json.loads(facts["variables"]),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:LENGTH]


def hash_case(case: Kind) -> str:
    """Return the digest of the code that can move a number of a case."""
    return hash_code(case.framework, case.mode, case.cell, case.variant, grouped=case.replicas > 1)


@functools.cache
def hash_code(framework: str, mode: str, cell: str, variant: str = "", *, grouped: bool = False) -> str:
    """Return the digest of the code, read once a process: what is edited later does not run in it.

    `grouped` says whether several replicas train.
    """
    return hash_files(registry.find_source, list_files(framework, mode, cell, variant, grouped=grouped))
