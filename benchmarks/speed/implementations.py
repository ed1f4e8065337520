"""Who is timed against whom: the ways to run one training step, grouped by the step that they share."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from typing import Any

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.speed.handwritten import LATER, PLAIN, TRAINERS
from farreach.frameworks.layouts import LAYOUTS
from farreach.results.timing.ratios import USUAL

AUTO = "auto"
"""The path that a short calibration finds to be the fastest; in `speed` alone."""

DEFAULT = "default"
"""The path that each framework's suites run where they name none; in `speed` alone."""


OTHER_ARITHMETIC = ("flushed",)
"""The paths that treat subnormal numbers otherwise than the framework does by itself."""


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One way to run a training step.

    Attributes:
        case: whose step it is; its path is `AUTO` nowhere, but see `Group.auto`.
        loop: a file of ``handwritten/`` that runs it, or "" for our own step.
        copy: tells two processes of one framework apart; 0, or 1 where a framework is timed against itself.
        slowed: the share by which it is made slower, where an A/A test injects a slowdown.
        python: the interpreter of the environment that it runs in.

    """

    case: Case
    loop: str = ""
    copy: int = 0
    slowed: float = 0.0
    python: str = sys.executable

    @property
    def name(self) -> str:
        """The framework with its path, or the hand-written loop."""
        name = self.loop or f"{self.case.framework} ({self.case.path})"
        return name + (f" slowed by {self.slowed:.0%}" if self.slowed else " again" if self.copy else "")

    @property
    def process(self) -> tuple[str, int]:
        """What tells its live process from others: a loop runs in the process of its framework."""
        return self.case.framework, self.copy


@dataclasses.dataclass(frozen=True)
class Group:
    """The implementations of one training step.

    Attributes:
        implementations: those to be timed; of a framework in `auto`, its candidates.
        auto: the frameworks of which the fastest path alone is kept.

    """

    implementations: tuple[Implementation, ...]
    auto: frozenset[str] = frozenset()

    @property
    def step(self) -> dict[str, Any]:
        """The fields of the case that all implementations share."""
        fields = self.implementations[0].case.to_json()
        return {name: value for name, value in fields.items() if name not in {"framework", "path"}}

    def label(self) -> str:
        """Return a line for people."""
        step = self.step
        parameters = " ".join(f"{name}={value}" for name, value in step["parameters"].items())
        size = f"{step['hidden']} hidden units, batch {step['batch']}, {step['device']}, {step['threads']} thread(s)"
        recipe = "".join(f"{name} {step[name]}, " for name, usual in USUAL.items() if step[name] != usual)
        return f"{step['task']} {parameters} {step['cell']}, {recipe}{size}"


def group_cases(cases: Iterable[Case], path: str = AUTO) -> list[Group]:
    """Group a suite's cases by their step, each framework on `path`: `AUTO`, `DEFAULT`, or one that it offers.

    Raises `UsageError` where no framework offers the path. Seeds, numbers of steps and thresholds do not change the
    time of a step, so the first case of a step stands for it.
    """
    steps: dict[str, dict[str, Case]] = {}
    for case in cases:
        apart = {"framework": "", "path": "", "seed": 0, "replicate": 0, "steps": 0, "until": "", "threshold": None}
        steps.setdefault(str(case.to_json() | apart), {}).setdefault(case.framework, case)
    offered = {one for by in steps.values() for case in by.values() for one in _list_paths(case)}
    if path not in {AUTO, DEFAULT}:
        registry.require_name("path", path, [AUTO, DEFAULT, *sorted(offered)])
    groups = []
    for by in steps.values():
        ways = {name: _choose_paths(case, path) for name, case in by.items()}
        implementations = tuple(
            Implementation(dataclasses.replace(case, path=way))
            for name, case in by.items()
            for way in ways[name]
            if way in _list_paths(case)
        )
        several = frozenset(name for name in by if len(ways[name]) > 1)
        if implementations:
            groups.append(Group(implementations, several))
    return groups


def add_loops(group: Group, loops: dict[str, str], refused: Callable[[str], None] = lambda _: None) -> list[Group]:
    """Return a group a framework: its own step beside the loops that are written in it, and do what it does.

    `refused` hears of each that does not. A path of `OTHER_ARITHMETIC` is left out: what it gains says nothing about
    our overhead. A recurrence that is written as a loop and as a scan is a group for each: the two do not the same.
    """
    groups = []
    fair = [one for one in group.implementations if one.case.path not in OTHER_ARITHMETIC]
    alike: dict[tuple[str, str], list[Implementation]] = {}
    for one in fair:
        path = one.case.path if LAYOUTS[one.case.cell].family == "linear" else ""
        alike.setdefault((one.case.framework, path), []).append(one)
    for (framework, _), several in alike.items():
        ours, case = tuple(several), several[0].case
        meant = [loop for loop, runs_in in loops.items() if runs_in == framework and _is_meant(loop, case.cell)]
        reasons = {loop: refuse_loop(case, loop) for loop in meant}
        written = tuple(Implementation(case, loop) for loop, reason in reasons.items() if not reason)
        for reason in filter(None, reasons.values()):
            refused(reason)
        if written:
            auto = group.auto & {framework} if len(ours) > 1 else frozenset()
            groups.append(Group(ours + written, auto))
    return groups


def refuse_loop(case: Case, loop: str) -> str:
    """Return in one line why a file of ``handwritten/`` does not do what a case does; empty where it does."""
    model, training = case.model(), case.training()
    kind = training.clip.kind if training.clip else "none"
    penalty = training.regulariser.kind if training.regulariser else "none"
    is_plain = (kind, training.optimizer, penalty, training.schedule) == ("norm", "adam", "none", None)
    layout = LAYOUTS[model.cell]
    wants = {
        f"{'the architectures that came after ' if loop in LATER else ''}rnn, lstm and gru": _is_meant(loop, case.cell),
        "attention of one layer from vectors to classes": model.cell != "attention"
        or (model.loss, model.layers, model.tokens) == ("cross_entropy", 1, False),
        "networks of one layer with one target per sequence": model.cell == "attention"
        or (model.loss, model.scored, model.layers, model.tokens) == ("mse", 1, 1, False),
        f"activation {layout.activations[0]}": model.activation == layout.activations[0],
        "a clip": kind != "none",
        "clip backprop of cell lstm alone": kind != "backprop" or model.cell == "lstm",
        "momentum at one learning rate, which Keras has within its velocity": not (
            loop == "loop_tensorflow" and training.optimizer == "momentum" and training.schedule
        ),
        "no penalty but omega2": penalty in {"none", "omega2"},
        "Adam at one learning rate under a norm clip, without a penalty": loop not in PLAIN or is_plain,
        "float32": loop not in TRAINERS or case.dtype == "float32",
    }
    wanted = next((wanted for wanted, is_met in wants.items() if not is_met), "")
    return wanted and f"{loop} is written for {wanted}"


def _is_meant(loop: str, cell: str) -> bool:
    """Say whether a file of ``handwritten/`` is about the kind of architecture that a cell is."""
    return (loop in LATER) == (LAYOUTS[cell].family != "recurrent")


def _choose_paths(case: Case, path: str) -> list[str]:
    """Return the paths of a case's framework that are candidates: all, its first, or the one that is named."""
    offered = _list_paths(case)
    return {AUTO: offered, DEFAULT: offered[:1]}.get(path, [path])


def _list_paths(case: Case) -> list[str]:
    """Return the paths of a case's framework that run it: under clip backprop those whose layers are loops."""
    looped = registry.list_looped(case.framework, case.device, case.cell)
    offered = registry.list_paths(case.framework, case.device, case.cell)
    return [path for path in offered if case.clip != "backprop" or path in looped]
