"""The report: reads one result folder and writes its tables, its figures and report.md into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from results import (
    agreement,
    cases,
    certificates,
    defaults,
    figures,
    findings,
    flow_figures,
    observed,
    overview,
    overview_figures,
    panels,
    speed,
    stale,
    tables,
    times,
    timing_figures,
    timing_report,
)
from results.answers import Answer, answers
from results.files import StoreError
from results.markdown import code, escape, table
from results.record import FLOW, SPECTRA
from results.stale import Versions
from results.store import CURVES, Store

PAGE = "report.md"

MADE = {"tables": (".csv", ".md"), "figures": (".png", ".svg")}
"""What the report writes besides report.md; files of an earlier report are removed first."""

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


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that a result folder holds.

    Attributes:
        store: the folder.
        rows: its rows, none where no case has finished.
        runs: what the runs logged.
        timings: what speed.json holds, None where there is none.
        trouble: one sentence for each part that could not be read.

    """

    store: Store
    rows: pd.DataFrame
    runs: list[dict[str, Any]]
    timings: pd.DataFrame | None
    trouble: list[str]


def write(folder: Path, now: Versions | None = None) -> list[Path]:
    """Write tables, figures and report.md into a result folder and return their paths, report.md first.

    Rows that another version than `now` made are stale: left out and said. A case whose files turn out to be damaged
    is set aside, left out and named. Raises `StoreError` where there is no such folder, or where it cannot be written.
    """
    return put(read(folder, now=now), timing_report.read(folder), now)[0]


def put(results: Results, timed: timing_report.Timed, now: Versions | None = None) -> tuple[list[Path], Results]:
    """Write what `write` does of what was read; return the paths, and what the set holds without what was damaged."""
    while True:
        known = len(results.store.damaged)
        made = _written(results, timed)
        if len(results.store.damaged) == known:
            return made, results
        results = read(results.store.folder, store=results.store, now=now)  # without the cases that were damaged


def _written(results: Results, timed: timing_report.Timed) -> list[Path]:
    folder = results.store.folder
    try:
        for part, suffixes in MADE.items():
            (folder / part).mkdir(exist_ok=True)
            for old in (folder / part).iterdir():
                if old.suffix in suffixes:
                    old.unlink()
        asked = answered(results, timed)
        shown = [*_write_tables(results)]
        drawn = [*_write_figures(results)]
        path = folder / PAGE
        path.write_text(text(results, asked, tables_text=shown, figure_paths=drawn), encoding="utf-8")
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}"
        raise StoreError(message) from error
    made = [one for part in MADE for one in sorted((folder / part).iterdir()) if one.suffix in MADE[part]]
    return [path, *made]


def fresh(folder: Path) -> bool:
    """Return whether a folder's report is newer than the rows and timings that it tells of, and than this code."""
    page = folder / PAGE
    here = Path(__file__).parent
    code_ = [path for part in (here, here / "answers", here / "site") for path in part.glob("*.py")]
    looks = [path for part in ("templates", "static") for path in (here / "site" / part).iterdir()]
    sources = [folder / "rows", folder / speed.FILE, *code_, *looks]
    # A folder's time is that of the last file that was moved into it.
    return page.exists() and page.stat().st_mtime >= max(path.stat().st_mtime for path in sources if path.exists())


def read(folder: Path, *, store: Store | None = None, now: Versions | None = None) -> Results:
    """Read what a result folder holds, whichever parts of it are there."""
    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise StoreError(message)
    store = store or Store(folder)
    try:
        rows = store.rows()
    except StoreError:  # there is none; the page says what there is instead
        rows = cases.empty()
    timings, trouble = None, []
    if now is not None:
        old = stale.stale(rows, now)
        trouble += stale.sentences(rows[old], now)
        rows = rows[~old]
    try:
        timings = speed.load(folder / speed.FILE) if (folder / speed.FILE).exists() else None
    except speed.SpeedError as error:
        trouble.append(f"{error}.")
    return Results(store, cases.labelled(rows), store.runs(), timings, [*trouble, *store.trouble()])


def answered(results: Results, timed: timing_report.Timed) -> list[Answer]:
    """Return the five answers of a result folder."""
    return answers(results.rows, results.timings, timed.groups, timed.checked)


def text(
    results: Results,
    asked: list[Answer],
    *,
    tables_text: list[tuple[str, str]],
    figure_paths: list[tuple[str, Path]],
) -> str:
    """Return report.md: the five answers first, then findings, tables, figures, failures, times, machines, commands.

    Args:
        results: what the folder holds.
        asked: the five answers.
        tables_text: heading and Markdown of each table.
        figure_paths: name (a key of `CAPTIONS`) and path of each figure.

    """
    rows, runs = results.rows, results.runs
    said = [*findings.sentences(rows, runs, results.timings), *results.trouble]
    parts = [f"# {escape(title(results))}\n"]
    parts += [_answer(one) for one in asked]
    parts += ["## Findings\n", "".join(f"- {escape(one)}\n" for one in said)]
    parts += ["## Tables\n", *(f"### {escape(heading)}\n\n{body}" for heading, body in tables_text)]
    left_out = cases.pictured(rows)[1] + cases.few(cases.pictured(rows)[0])[1]
    parts.append(f"## Figures\n{left_out}\n" if left_out else "## Figures\n")
    for name, (heading, caption) in CAPTIONS.items():
        paths = [path for one, path in figure_paths if one == name]
        if name in OPTIONAL and not paths:
            continue
        if name == "step-time":
            caption = f"{NO_TIMINGS if results.timings is None else TIMINGS}."  # noqa: PLW2901
        links = "".join(_link(heading, path) for path in paths)
        parts.append(f"### {heading}\n\n{caption}\n\n{links}" if paths else f"### {heading}\n\nNothing to draw.\n")
    parts += ["## Failures\n", table(times.failures(runs), empty="No case failed.")]
    parts += ["## Where the wall time went\n", _shares(runs)]
    parts += ["## Versions and machines\n", table(tables.machines(rows), empty="No rows, so no machine is known.")]
    if len(cases.ours(rows)[["commit", "numerics"]].drop_duplicates()) > 1:
        parts.append("The rows come from different commits or numerical versions: compare them with care.\n")
    parts += ["## The commands\n", _commands(results)]
    return "\n".join(parts)


def _answer(one: Answer) -> str:
    first, *parts = map(escape, one.lines())
    listed = "".join(f"- {part}\n" for part in parts)
    return f"**{one.question}** {first}\n" + (f"\n{listed}" if parts else "")


def _link(heading: str, path: Path) -> str:
    vector = path.with_suffix(".svg")
    also = f" [as SVG](figures/{vector.name})" if vector.exists() else ""
    return f"![{heading}, {path.stem}](figures/{path.name}){also}\n"


def title(results: Results) -> str:
    """Return what a report is called: by its suites, or by its folder where no case has finished."""
    suites = sorted(map(str, results.rows["suite"].unique()))
    return f"Results of {cases.joined(suites)}" if suites else f"Results in {results.store.folder.resolve().name}"


def again(folder: Path) -> str:
    """Return the command that makes the report of a folder again; it names no folder of the machine that made it."""
    try:
        place = folder.resolve().relative_to(Path.cwd())
    except ValueError:
        place = Path("DIR")
    return f"python -m benchmarks report {place}"


def _write_tables(results: Results) -> Iterator[tuple[str, str]]:
    """Write each table as CSV and as Markdown; yield the heading and Markdown of those with lines."""
    rows = results.rows
    short = ["setting", "cell", "clip", "framework"]

    def brief(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[[*short, *(name for name in frame if name not in tables.HEAD)]]

    def sections(parts: Iterator[tuple[str, pd.DataFrame]]) -> str:
        return "\n".join(f"**{escape(heading)}**\n\n{table(frame)}" for heading, frame in parts)

    reached, norms, times_seen = tables.accuracy(rows), tables.gradients(rows), tables.step_times(rows)
    metrics, held = tables.task_metrics(rows), certificates.standing(rows)
    torn, gaps, shares = tables.divergence(rows), agreement.agreement(rows), times.shares(results.runs)
    far, found = observed.reach(rows), observed.diagnosed(rows)
    matrices = observed.spectra(cases.few(rows)[0], _spared(results.store.spectra, SPECTRA))
    by_task = (
        (str(task), brief(part).dropna(axis="columns", how="all")) for task, part in metrics.groupby("task", sort=False)
    )
    compact = tables.summary(rows)
    made: list[tuple[str, str, pd.DataFrame, str]] = [
        ("summary", "In short: skill, seeds that solved it, share of steps clipped", compact, table(compact)),
        (
            "accuracy",
            "Accuracy (mean over seeds; in brackets their range, or the 95 % interval of a source gain)",
            reached,
            sections(tables.wide(rows)),
        ),
        ("metrics", "Every metric of the tasks (mean over seeds)", metrics, sections(by_task)),
        ("gradients", "Gradients and clipping", norms, table(brief(norms))),
        ("reach", "Reach: how far back the gradient keeps 1 % of its norm", far, table(observed.reach_text(far))),
        ("spectra", "Spectral radius and largest singular value of the recurrent matrices", matrices, table(matrices)),
        ("diagnoses", "Diagnoses", found, table(observed.counts(rows))),
        ("divergence", "Divergence", torn, table(torn)),
        ("agreement", "Agreement of the frameworks, beside copies of one", gaps, table(gaps)),
        ("certificates", "Certificates", held, table(held)),
        ("step-times", "Step times inside the training runs (not a comparison)", times_seen, table(times_seen)),
        ("time-shares", "Wall time by kind", shares, _shares(results.runs)),
    ]
    if results.timings is not None:
        ratios, steps = speed.ratios(results.timings), speed.steps(results.timings)
        made.insert(6, ("speed-ratios", "Speed: how many times as fast", ratios, table(ratios)))
        made.insert(7, ("speed", "Speed: one training step", steps, table(steps)))
    own, apart = defaults.by_framework(rows), defaults.by_pair(rows)
    if len(own):
        made.insert(6, ("matched-native", "Matched and native: each framework with its own defaults", own, table(own)))
        made.insert(7, ("matched-native-gaps", "Matched and native: two frameworks' gap in skill", apart, table(apart)))
    for name, heading, frame, body in made:
        path = results.store.folder / "tables" / name
        frame.to_csv(path.with_suffix(".csv"), index=False)
        shown = body if len(frame) else "Nothing to show.\n"
        path.with_suffix(".md").write_text(f"# {heading}\n\n{shown}", encoding="utf-8")
        if len(frame) and name != "time-shares":
            yield heading, shown


def _write_figures(results: Results) -> Iterator[tuple[str, Path]]:
    """Draw and save every figure that has something to show; yield its name and path."""
    store = results.store
    rows, _ = cases.pictured(results.rows)
    read, _ = cases.few(rows)
    curves, evaluations = _spared(store.curves, CURVES), _spared(store.evaluations, ("step", "loss"))
    flow = _spared(store.flow, FLOW)
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


def _spared(load: Callable[[str], pd.DataFrame], columns: tuple[str, ...]) -> Callable[[str], pd.DataFrame]:
    """Return a reader that gives an empty table where a file is damaged or missing: one case does not stop a report."""

    def read_or_empty(key: str) -> pd.DataFrame:
        try:
            return load(key)
        except StoreError:
            return pd.DataFrame(columns=[*columns], dtype=float)

    return read_or_empty


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


def _shares(runs: list[dict[str, Any]]) -> str:
    """Return the wall time by kind as Markdown, with the shares in percent."""
    frame = times.shares(runs)
    for name in map(str, frame):
        if name.endswith("share"):
            frame[name] = frame[name].map(cases.percent)
        elif name.endswith(" s"):
            frame[name] = frame[name].map(lambda seconds: f"{seconds:.1f}")
    return table(frame, empty="No run that finished cases was logged.")


def _commands(results: Results) -> str:
    """Return the commands that made the rows, and the one that makes this report again."""
    made = sorted(map(str, results.rows["command"].unique()))
    report = f"This report, its tables and its figures: {code(again(results.store.folder))}\n"
    rows = "".join(f"- {code(command)}\n" for command in made)
    return f"{report}\nThe rows:\n\n{rows}" if rows else report
