"""The figures of a report: which there are, what each says, and how they get into the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure

from results import cases, figures, flow_figures, overview, overview_figures, panels, speed, tables, timing_figures
from results.contents import Results, spared
from results.record import FLOW
from results.store import CURVES

NO_TIMINGS = "Step times inside the training runs (no speed.json): median and range over cases, not a comparison"
TIMINGS = "Step times by pytest-benchmark: median over rounds, 95 % bootstrap interval"

VECTOR = {"atlas", "ratios", "reach-length"}
"""Figures that are written as SVG too: those that a paper takes, and that the page draws."""

CAPTIONS = {
    "atlas": (
        "Clip atlas",
        (
            "Cell by threshold. Colour and first line: how many of the seeds solved the task, in every framework that "
            "ran it; second line: share of the steps clipped."
        ),
    ),
    "ratios": (
        "How many times as fast",
        "Ratio of the times of a training step, median with its 95 % interval: right of 1 the second named is faster.",
    ),
    "reach-length": (
        "Reach against length",
        (
            "Share of the steps before the scored ones over which the gradient keeps 1 % of its norm at the end of "
            "training, mean over seeds with its 95 % interval, without a clip where that ran."
        ),
    ),
    "skill": (
        "Skill by cell and threshold",
        (
            "Skill at the end of training: 0 is the floor, 1 is perfect. Small points are seeds, an open mark is "
            "their mean with its standard error, a cross at the bottom is a run that diverged; skill below -0.3 is "
            "drawn there."
        ),
    ),
    "learning": (
        "Learning curves",
        (
            "Loss on the evaluation set over training, mean over seeds, with the task's floor. The first framework's "
            "lines are the widest, so that lines that coincide all show."
        ),
    ),
    "training-loss": (
        "Training loss of your own runs",
        "Loss of each training batch before its update: the median over each stretch of steps and over runs.",
    ),
    "gradient-norm": (
        "Gradient norm before the clip",
        (
            "Global gradient norm before the clip: the median over each stretch of steps and over seeds. Horizontal "
            "lines are the thresholds of clip norm, in the line style of the runs that they clip."
        ),
    ),
    "clip-fraction": ("Clip fraction", "Share of the training steps on which the clip changed the gradient."),
    "gradient-flow": (
        "The gradient through time",
        (
            "Norm of the slope of the loss along the first layer's state at each step, relative to the first scored "
            "step, on a fixed batch: geometric mean over seeds, with their range. Without clipping where that was run; "
            "the first framework's."
        ),
    ),
    "gradient-heat": (
        "The gradient through time, over training",
        "The same norm, not relative, over training (across) and time (up); scored steps lie above the white line.",
    ),
    "matched-native": (
        "Matched and native",
        (
            "Skill at the end of training, mean over seeds: an open mark in mode matched, a filled one with the "
            "framework's own defaults, joined by a line. A mode in which every seed diverged has no mark; skill below "
            "-0.3 is drawn there."
        ),
    ),
    "step-time": ("Step time", ""),
}

OPTIONAL = {"atlas", "ratios", "reach-length", "training-loss", "matched-native"}
"""Figures that are passed over in silence where there is nothing to draw: not every set has such runs."""


def write(results: Results) -> Iterator[tuple[str, Path]]:
    """Draw and save every figure that has something to show; yield its name and path."""
    store = results.store
    rows, _ = cases.pictured(results.rows)
    read, _ = cases.few(rows)
    curves, evaluations = spared(store.curves, CURVES), spared(store.evaluations, ("step", "loss"))
    flow = spared(store.flow, FLOW)
    makers: dict[str, Callable[[], dict[str, Figure]]] = {
        "atlas": lambda: overview_figures.atlas(overview.atlas(rows)),
        "ratios": lambda: _ratios(results),
        "reach-length": lambda: overview_figures.reach(overview.reach(rows)),
        "skill": lambda: figures.skill(rows),
        "learning": lambda: figures.learning(read, evaluations),
        "training-loss": lambda: figures.training_loss(read, curves),
        "gradient-norm": lambda: figures.gradient_norm(read, curves),
        "clip-fraction": lambda: figures.clip_fraction(rows),
        "gradient-flow": lambda: flow_figures.profiles(read, flow),
        "gradient-heat": lambda: flow_figures.heat_maps(read, flow),
        "matched-native": lambda: figures.modes(rows),
        "step-time": lambda: _step_time(results),
    }
    for name, make in makers.items():
        for which, figure in make().items():
            path = store.folder / "figures" / (f"{name}-{which}.png" if which else f"{name}.png")
            panels.save(figure, path, vector=name in VECTOR)
            yield name, path


def _ratios(results: Results) -> dict[str, Figure]:
    """Return the forest plot of the steps that pytest-benchmark timed."""
    pairs = overview.ratios(results.timings, [])
    if pairs.empty:
        return {}
    heading = "ratio of the times of a training step, median and 95 % interval"
    names = ("slower", "faster")
    return {"": timing_figures.forest(pairs, ratio="times as fast", names=names, heading=heading)}


def _step_time(results: Results) -> dict[str, Figure]:
    if results.timings is not None:
        table_of = speed.timed(results.timings)
        return {"": figures.step_time(table_of, source=TIMINGS)} if len(table_of) else {}
    seen = tables.step_times(results.rows).rename(columns={"framework": "learner"})
    return {"": figures.step_time(seen, source=NO_TIMINGS)} if len(seen) else {}
