"""The figures of a report: how they get into the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from farreach.results.analysis import atlas, matched_native, observatory, overview, tables, tuning
from farreach.results.analysis.rows import limit_curves, limit_settings
from farreach.results.analysis.selection import CELL, SETTING
from farreach.results.figures import atlas as atlas_figures
from farreach.results.figures import curves as curve_figures
from farreach.results.figures import gradient_flow, style, timing, training
from farreach.results.figures import overview as overview_figures
from farreach.results.figures import splits as split_figures
from farreach.results.figures.captions import NO_TIMINGS, TIMINGS
from farreach.results.record import FLOW
from farreach.results.report.contents import Results, tolerate_damage
from farreach.results.report.speed_sentences import label_timed_steps, name_steps
from farreach.results.storage.files import make_name
from farreach.results.storage.parts import CURVES

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # the room of figures imports it, without the settings of the user

VECTOR = {"atlas", "success-length", "clip-rate", "profile", "ratios", "reach-length"}
"""Figures that are written as SVG too: those that a paper takes, and that the page draws."""


def draw_figures(results: Results, folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw every figure that has something to show, and save it in a folder; yield its name and path."""
    store = results.store
    rows = limit_settings(results.rows)
    read = limit_curves(rows)
    curves, evaluations = tolerate_damage(store.curves, CURVES), tolerate_damage(store.evaluations, ("step", "loss"))
    flows = gradient_flow.read_flows(observatory.choose_flows(read), tolerate_damage(store.flow, FLOW))
    makers: dict[str, Callable[[], dict[str, Figure]]] = {
        "atlas": lambda: overview_figures.draw_atlas(overview.tabulate_atlas(rows)),
        "success-length": lambda: atlas_figures.draw_success(atlas.tabulate_success(results.rows)),
        "clip-rate": lambda: atlas_figures.draw_rates(atlas.tabulate_rates(results.rows)),
        "profile": lambda: atlas_figures.draw_profile(tuning.tabulate_profile(results.rows)),
        "ratios": lambda: _draw_ratios(results),
        "reach-length": lambda: overview_figures.draw_reach(overview.tabulate_reach(rows)),
        "skill": lambda: training.draw_skill(rows.ours.as_drawn.frame),
        "learning": lambda: curve_figures.draw_learning(read.as_drawn.frame, evaluations),
        "training-loss": lambda: curve_figures.draw_training_loss(read.own.as_drawn.frame, curves),
        "gradient-norm": lambda: curve_figures.draw_gradient_norm(read.as_drawn.frame, curves),
        "norm-direction": lambda: split_figures.draw_splits(
            results.divided[results.divided[SETTING].isin(rows.frame[SETTING])]
        ),
        "clip-fraction": lambda: training.draw_clip_fraction(rows.as_drawn.frame),
        "gradient-flow": lambda: gradient_flow.draw_profiles(flows),
        "gradient-input": lambda: gradient_flow.draw_input_profiles(flows),
        "gradient-heat": lambda: gradient_flow.draw_heat_maps(flows),
        "matched-native": lambda: training.draw_modes(matched_native.pair_modes(rows)),
        "step-time": lambda: _draw_step_time(results),
    }
    for name, make in makers.items():
        for which, figure in make().items():
            path = folder / (f"{name}-{make_name(which)}.png" if which else f"{name}.png")
            style.save_figure(figure, path, vector=name in VECTOR)
            yield name, path


def _draw_ratios(results: Results) -> dict[str, Figure]:
    """Return the forest plot of the timed steps."""
    pairs = name_steps(results.timed.pairs)
    return {"": timing.draw_ratios(pairs)} if timing.fits(pairs) else {}


def _draw_step_time(results: Results) -> dict[str, Figure]:
    if results.timed.groups:
        timed = label_timed_steps(results.timed.groups)
        timed = timed.assign(**{CELL: timed["cell"], "activation": None})
        return {"": training.draw_step_time(timed, source=TIMINGS)} if len(timed) else {}
    seen = tables.tabulate_step_times(results.rows)
    return {"": training.draw_step_time(seen, source=NO_TIMINGS)} if len(seen) else {}
