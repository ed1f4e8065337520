"""Updates in parts: the cases, what a framework makes of one, and real processes that make them together.

``python -m tests.support.replicas FRAMEWORK RANK ADDRESS...`` is one process: it joins the others, reads cases as JSON
from its standard input, and writes what it found as one line of JSON.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import linecache
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import NUMPY_THREADS
from farreach.benchmarks.studies.certification import Check, draw_batches
from farreach.benchmarks.studies.update_semantics import find_addresses
from farreach.frameworks.base import Array, Framework, State, Weights
from farreach.frameworks.environment import merge_environment
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.split import Split
from farreach.tasks.base import Batch
from tests.support.paths import quickest
from tests.support.started import give_answer, start_group

ROWS, CHUNK = 8, 5
FIGURES = ("loss", "norm_before", "norm_after", "clipped")


@dataclasses.dataclass(frozen=True)
class Update:
    """A kind of update in parts, as a process is told it.

    Attributes:
        steps: updates, in chunks of `CHUNK`.
        path: empty for the one that compiles fastest.

        fault: what is replaced in the framework's ``replicas.py``, and by what.

    """

    cell: str
    optimizer: str
    clip: str
    replicas: int = 1
    microbatches: int = 1
    clip_at: str = "after"
    regulariser: str = "none"
    layers: int = 1
    inputs: str = "tokens"
    steps: int = 20
    path: str = ""
    dtype: str = "float64"
    fault: tuple[str, str] | None = None

    @property
    def split(self) -> Split:
        """How its batches are divided."""
        return Split(self.replicas, self.microbatches, self.clip_at)  # type: ignore[arg-type]

    def make_check(self, framework: str) -> Check:
        """Return model, recipe and first weights, as certificates have them."""
        return Check(
            framework=framework,
            path=self.path or quickest(framework, self.cell),
            cell=self.cell,  # type: ignore[arg-type]
            activation=LAYOUTS[self.cell].activations[0],
            layers=self.layers,
            inputs=self.inputs,
            optimizer=self.optimizer,  # type: ignore[arg-type]
            clip=self.clip,
            regulariser=self.regulariser,
            scored="every" if self.inputs == "tokens" else "last",
            dtype=self.dtype,  # type: ignore[arg-type]
        )

    def draw_batches(self) -> list[Batch]:
        """Return batches whose parts count unlike; from the second on, the first row of each counts nothing."""
        check = self.make_check("reference")
        batches = draw_batches(check.model(), self.steps, ROWS, check.size[1])
        for batch in batches[1:]:
            batch.mask[0] = 0
        return batches


def load_replicas(framework: str, fault: tuple[str, str] | None = None) -> ModuleType:
    """Return the ``replicas.py`` of a framework, with a fault in it where one is planted."""
    name = f"farreach.frameworks.{framework}.replicas"
    module = importlib.import_module(name)
    if fault is None:
        return module
    path = Path(str(module.__file__))
    source, (right, wrong) = path.read_text(), fault
    assert source.count(right) == 1, (framework, right)
    source = source.replace(right, wrong)
    # TensorFlow makes its graphs of the source that it finds under the name of the file: that of the whole one, else.
    place = f"<{framework} with {wrong}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    planted = ModuleType(name)
    sys.modules[name] = planted  # where a data class looks for its types
    try:
        exec(compile(source, place, "exec"), planted.__dict__)  # noqa: S102
    finally:
        sys.modules[name] = module
    if hasattr(module, "_GROUP"):  # which this process has joined
        planted.__dict__["_GROUP"] = module._GROUP  # noqa: SLF001
    return planted


def build_parted(framework: str, update: Update, rank: int = 0) -> Framework:
    """Return the framework that makes an update in parts."""
    check = update.make_check(framework)
    built: Framework = load_replicas(framework, update.fault).Framework(
        check.model(),
        check.training(),
        check.draw_weights(),
        device="cpu",
        dtype=check.dtype,
        threads=1,
        path=check.path,
        split=update.split,
        rank=rank,
    )
    return built


def build_plain(framework: str, update: Update) -> Framework:
    """Return the framework that makes the whole update at once."""
    check = update.make_check(framework)
    built: Framework = importlib.import_module(f"farreach.frameworks.{framework}").Framework(
        check.model(),
        check.training(),
        check.draw_weights(),
        device="cpu",
        dtype=check.dtype,
        threads=1,
        path=check.path,
    )
    return built


def run_update(framework: Framework, update: Update) -> dict[str, Array]:
    """Train, and return every figure of every step, and by their names weights, memory and predictions at the end."""
    batches = update.draw_batches()
    framework.prepare(batches[:CHUNK], batches[0].inputs)
    chunks = [framework.train(batches[at : at + CHUNK]) for at in range(0, len(batches), CHUNK)]
    found = {name: np.concatenate([getattr(trace, name) for trace in chunks]) for name in FIGURES}
    found |= {name: np.concatenate([trace.extra[name] for trace in chunks]) for name in chunks[0].extra}
    state: State = framework.state()
    for kind, values in (("weights", state.weights), *((f"slot{at}", slot) for at, slot in enumerate(state.slots))):
        found |= {f"{kind}.{name}": value for name, value in values.items()}
    return found | {"history": state.history, "predictions": framework.predict(batches[0].inputs)}


def measure_worst(found: dict[str, Array], right: dict[str, Array]) -> float:
    """Return the largest difference over all that both have, relative to the largest value of each kind."""
    worst = 0.0
    for name in found.keys() & right.keys():
        one, other = np.asarray(found[name], np.float64), np.asarray(right[name], np.float64)
        if one.shape != other.shape or not np.isfinite(one).all():
            return float("inf")
        if one.size:
            worst = max(worst, float(np.abs(one - other).max() / max(float(np.abs(other).max()), 1e-3)))
    return worst


def run_group(framework: str, updates: list[Update], count: int, *, patience: float = 900.0) -> list[list[Any]]:
    """Return what each of so many processes found, [processes][updates]: a dictionary as of `run_update`, of lists.

    All make the updates together, one after another, and one group serves them all.
    """
    environment = os.environ | dict.fromkeys(NUMPY_THREADS, "1")
    environment |= merge_environment(registry.read_environment(framework, "cpu"), os.environ)
    addresses = find_addresses(count)
    given = json.dumps([dataclasses.asdict(update) for update in updates])
    lines = [["-m", "tests.support.replicas", framework, str(rank), *addresses] for rank in range(count)]
    return [json.loads(answer) for answer in start_group(lines, environment, given, patience)]


def read_found(found: dict[str, Any]) -> dict[str, Array]:
    """Return arrays again."""
    return {name: np.array(value) for name, value in found.items()}


def check_alone(framework: str, learner: Framework, update: Update) -> None:
    """Ask for what must not wait for other replicas: predictions, weights, a state and its return, the flow."""
    batch = update.draw_batches()[0]
    state = learner.state()
    learner.restore(state)
    weights: Weights = learner.weights()
    assert all(np.array_equal(weights[name], value) for name, value in state.weights.items())
    flow = importlib.import_module(f"farreach.frameworks.{framework}.gradient_flow").measure_flow(learner, batch)
    assert np.isfinite(flow.x).all()
    assert learner.predict(batch.inputs).shape[0] == ROWS


def main(framework: str, rank: str, *addresses: str) -> None:
    """Join, make each update, and write what was found."""
    updates = [Update(**given) for given in json.loads(sys.stdin.readline())]
    importlib.import_module(f"farreach.frameworks.{framework}").configure("cpu", 1)
    load_replicas(framework).join_group(int(rank), addresses, "cpu")
    found = []
    for update in updates:
        learner = build_parted(framework, update, int(rank))
        answer = run_update(learner, update)
        if rank == "0":  # while the others wait in the next
            check_alone(framework, learner, update)
        found.append({name: value.tolist() for name, value in answer.items()} | {"kernel": learner.kernel})
    give_answer(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
