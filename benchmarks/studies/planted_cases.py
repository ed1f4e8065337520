"""Planted cases: runs whose diagnosis is known beforehand, by which the rules of the diagnosis are judged.

Each kind plants one cause: recurrent matrices scaled to set radii or drawn by set initials and hardly trained,
thresholds set absurdly low or high, a learning rate that cannot but diverge, one that cannot leave the floor, and runs
that learn: to the end, until they have solved their task, or stopped long before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.results.analysis.diagnosis import Label

SEEDS = 5


def plant_cases(framework: str, first_seed: int = 0) -> Iterator[tuple[Label, Case]]:
    """Yield the planted cases with what their diagnosis should be; each kind at `SEEDS` seeds from `first_seed`."""
    for label, fields in [*_plant_recurrences(), *_plant_clips(), *_plant_rates(), *_plant_recipes()]:
        for seed in range(first_seed, first_seed + SEEDS):
            path = registry.list_paths(framework, "cpu", fields["cell"])[0]
            yield label, Case(framework=framework, path=path, seed=seed, hidden=32, **fields)


def _name_task(name: str, **parameters: int) -> dict[str, Any]:
    return {"task": name, "parameters": tuple(sorted(parameters.items()))}


def _plant_recurrences() -> Iterator[tuple[Label, dict[str, Any]]]:
    """Recurrent matrices at set radii, hardly moved: the gradient's way is known from the matrix."""
    still = {"cell": "rnn", "steps": 100}
    for radius, length in itertools.product((0.3, 0.5, 0.6, 0.7), (30, 50)):
        yield "vanishing", still | _name_task("adding", T=length) | {"radius": radius, "learning_rate": 1e-6}
    for radius in (1.0, 2.0):  # a sigmoid passes on a quarter of it at most
        fields = {"activation": "sigmoid", "radius": radius, "learning_rate": 1e-6}
        yield "vanishing", still | _name_task("adding", T=40) | fields
    # A relu passes on what goes through its active units, about half of them: radius / sqrt(2) a step.
    clip = {"clip": "norm", "threshold": 1.0, "optimizer": "sgd", "learning_rate": 1e-7}
    for radius, length in itertools.product((2.0, 2.2, 2.4), (20, 30)):
        yield "exploding", still | _name_task("adding", T=length) | clip | {"activation": "relu", "radius": radius}
    for rate, length in itertools.product((0.5, 2.0), (15, 20)):
        fields = {"activation": "relu", "radius": 2.0, "optimizer": "sgd", "learning_rate": rate}
        yield "diverged", still | _name_task("adding", T=length) | fields


def _plant_clips() -> Iterator[tuple[Label, dict[str, Any]]]:
    """Thresholds set absurdly low under plain gradient descent, and absurdly high on runs that learn."""
    for cell, threshold in itertools.product(("rnn", "lstm", "gru"), (1e-6, 1e-5, 1e-4)):
        fields = {"cell": cell, "steps": 300, "clip": "norm", "threshold": threshold}
        yield "over-clipped", fields | _name_task("adding", T=15) | {"optimizer": "sgd", "learning_rate": 0.05}
    high = {"steps": 800} | _name_task("adding", T=10)
    for cell, (clip, threshold) in itertools.product(
        ("lstm", "gru"), (("norm", 1e3), ("norm", 1e5), ("norm", 1e8), ("value", 1e3))
    ):
        yield "clip inactive", high | {"cell": cell, "clip": clip, "threshold": threshold}


def _plant_rates() -> Iterator[tuple[Label, dict[str, Any]]]:
    """Runs that learn, and runs whose learning rate is too small to leave the floor that they start on."""
    for cell, threshold, length in itertools.product(("lstm", "gru"), (None, 0.3), (8, 10)):
        clip = {} if threshold is None else {"clip": "norm", "threshold": threshold}
        yield "healthy", {"cell": cell, "steps": 800} | _name_task("adding", T=length) | clip
    for length, optimizer in itertools.product((10, 15), ("sgd", "adam")):
        fields = {"cell": "rnn", "steps": 300, "learning_rate": 1e-6, "optimizer": optimizer}
        yield "stuck on the floor", fields | _name_task("order", T=length)


def _plant_recipes() -> Iterator[tuple[Label, dict[str, Any]]]:
    """First weights of other kinds whose gradient's way is known, and gated cells that learn by chrono."""
    still = {"cell": "rnn", "steps": 100, "learning_rate": 1e-6}
    for initial, activation, length in (
        *(("sigmoid", "sigmoid", length) for length in (20, 30, 50)),  # keeps 0.25 * 0.01 * sqrt(32) a step
        *(("basic_tanh", "tanh", length) for length in (30, 50)),  # keeps 0.1 * sqrt(32) a step
    ):
        yield "vanishing", still | _name_task("adding", T=length) | {"initial": initial, "activation": activation}
    # A scaled identity multiplies what its active units pass on by its radius, step by step.
    grown = {"initial": "irnn", "activation": "relu", "clip": "norm", "threshold": 1.0, "optimizer": "sgd"}
    for radius, length in ((1.2, 30), (1.2, 50), (1.3, 30), (1.3, 50), (1.5, 20), (1.5, 30)):
        fields = grown | {"radius": radius, "learning_rate": 1e-7}
        yield "exploding", still | _name_task("adding", T=length) | fields
    clip = {"clip": "norm", "threshold": 1.0}
    for cell in ("lstm", "gru"):
        chrono = {"cell": cell, "initial": "chrono", "chrono_length": 60} | clip
        for length in (30, 60):  # they learn, with a gradient that grows, and are stopped
            fields = chrono | {"chrono_length": length, "steps": 100}
            yield "healthy", fields | _name_task("order", T=length)
        yield "healthy", chrono | _name_task("order", T=60) | {"steps": 2_000, "until": "solved"}
        yield "healthy", chrono | _name_task("adding", T=50) | {"steps": 600}
        yield "healthy", chrono | _name_task("adding", T=20) | {"steps": 3_000, "until": "solved"}
        yield "healthy", {"cell": cell} | clip | _name_task("adding", T=10) | {"steps": 3_000, "until": "solved"}
    speech = {"cell": "lstm", "initial": "chrono", "chrono_length": 100} | clip | _name_task("speech", delay=60)
    for steps in (100, 200):
        yield "healthy", speech | {"steps": steps}
