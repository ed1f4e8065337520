"""The checks of updates in parts: which there are.

They are no part of what `certify` runs by itself. ``--only replicas=2`` asks for those of a group of two processes,
``--only microbatches=2`` for those of two microbatches in one process.
"""

from __future__ import annotations

import itertools
from typing import Any

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies.certification import CELLS, CHUNK, Check
from farreach.frameworks.base import Device
from farreach.results.analysis.certificates import CROSSED

SEVERAL = 2
"""Replicas, and microbatches, of the checks; they stand for every larger number."""

BEFORE = ("norm", "value", "variable", "agc")
"""The clips that are defined for the gradient of a part."""

KEYS = ("replicas", "microbatches", "clip_at")
"""The fields of a check that ask for these checks."""

Update = dict[str, Any]


def list_split_checks(framework: str, replicas: int, device: Device = "cpu") -> list[Check]:
    """Return the checks of a framework for so many replicas; those of 1 are of microbatches alone.

    In float64, with masks by which the parts count unlike: every cell x optimizer x clip; every cell under each further
    clip, with each further optimizer, under each penalty, and in chunks with the last step scored; clipped before the
    reduction by each clip that is defined for a part. Of two replicas the norm clip on both sides with microbatches
    too. In float32 every cell clipped on both sides, on vectors and on tokens with every step scored.
    """
    if not registry.has_part(framework, "replicas"):
        return []
    split: Update = {"replicas": replicas, "microbatches": 1 if replicas > 1 else SEVERAL}
    exact: list[Update] = [
        {"scored": "some", "optimizer": optimizer, "clip": clip}
        for optimizer, clip in itertools.product(*CROSSED.values())
    ]
    exact += [
        {"inputs": "tokens", "scored": "some", "optimizer": name, "clip": "norm"} for name in ("adagrad", "adamw")
    ]
    tokens: Update = {"inputs": "tokens", "scored": "every", "layers": 2}
    exact += [tokens | {"clip": clip} for clip in ("variable", "agc", "autoclip")]
    exact += [tokens | {"clip": clip, "clip_at": "before"} for clip in BEFORE]
    exact += [{"optimizer": "sgd", "clip": "norm", "chunk": CHUNK}]
    exact += [
        {"scored": "some", "clip": "norm", "regulariser": penalty, "clip_at": clip_at}
        for penalty, clip_at in (("l1", "after"), ("l2", "after"), ("l2", "before"))
    ]
    if replicas > 1:
        both: Update = {"scored": "some", "clip": "norm", "microbatches": SEVERAL}
        exact += [both, both | {"clip_at": "before"}]
    single: list[Update] = [
        {"dtype": "float32", "clip": "norm", "clip_at": clip_at} | on
        for clip_at in ("after", "before")
        for on in ({}, {"inputs": "tokens", "scored": "every"})
    ]
    usual: Update = {"layers": 1, "inputs": "vectors", "optimizer": "adam", "regulariser": "none"}
    return [
        Check(
            framework=framework,
            path=registry.choose_path(framework, device, cell, str(update["clip"])),
            cell=cell,
            activation=activation,
            device=device,
            **(usual | split | update),
        )
        for updates in (exact, single)  # the replicas of one precision serve all its checks
        for (cell, activation), update in itertools.product(CELLS, updates)
        if cell in registry.list_cells(framework, device)
    ]


def list_everything(framework: str, device: Device = "cpu") -> list[list[Check]]:
    """Return the lists of such checks, each of which has certificates of its own."""
    return [list_split_checks(framework, replicas, device) for replicas in (SEVERAL, 1)]
