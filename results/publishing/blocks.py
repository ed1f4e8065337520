"""The parts of documents that quote published results: each stands between two comments and is made from them.

A block writes its links from the folder of the published sets; `fill_blocks` makes them lead from the document.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from farreach.results.analysis import calibration, observatory, tables
from farreach.results.analysis.contrasts import judge_contrasts
from farreach.results.analysis.labels import format_parameters, join_words
from farreach.results.analysis.matched_native import measure_changes
from farreach.results.analysis.native_gaps import explain_gaps
from farreach.results.analysis.rows import label_rows
from farreach.results.analysis.selection import CLIP, PLACE, find_length
from farreach.results.analysis.statistics import INCONCLUSIVE
from farreach.results.publishing import manifests
from farreach.results.report import contents, gradient_reach, result_set, timing_contents
from farreach.results.report.calibration import write_share_right
from farreach.results.report.contrasts import write_contrast
from farreach.results.report.ledger import tabulate_verdicts, write_summary
from farreach.results.report.markdown import escape, table
from farreach.results.report.matched_native import write_change, write_gap
from farreach.results.report.speed_sentences import title_steps, write_overheads, write_pairs, write_test
from farreach.results.storage.files import StoreError, read_json
from farreach.results.storage.packed_set import MANIFEST
from farreach.results.storage.sets import open_set
from farreach.results.timing import interleaved
from farreach.results.timing.ratios import STEP
from farreach.results.vocabulary import NONE

GROWTH = {
    "T": "Step time against the number of time steps",
    "batch": "Step time against the batch",
    "hidden": "Step time against the hidden units",
}
"""The pictures of how cost grows, by the ends of their names."""


HEADLINE = ("adding", "order")
"""The tasks whose decided settings the README shows."""


def fill_blocks(text: str, published: Path, folder: Path) -> str:
    """Return a document with every block written anew from the published sets.

    Args:
        text: the document.
        published: the folder of the published sets, which links in a block start from.
        folder: the folder that the document stands in, which its links start from.

    Returns:
        The document, its links made to lead from where it stands.

    Raises:
        StoreError: a block has no end, or there is no generator for it.

    """
    place = Path(os.path.relpath(published, folder)).as_posix()

    def write_block(match: re.Match[str]) -> str:
        name = match[1]
        if name not in BLOCKS:
            message = f"no generator for block {name}"
            raise StoreError(message)
        content = BLOCKS[name](published).strip().replace("](", f"]({place}/")
        return f"<!-- {name} -->\n{content}\n<!-- end of {name} -->"

    opened, closed = (set(re.findall(rf"<!-- {word}([\w-]+) -->", text)) - {""} for word in ("(?!end of )", "end of "))
    if opened != closed:
        message = f"a block is not closed: {', '.join(sorted(opened ^ closed))}"
        raise StoreError(message)
    return re.sub(r"<!-- (?!end of )([\w-]+) -->.*?<!-- end of \1 -->", write_block, text, flags=re.DOTALL)


def _listed(sentences: list[str]) -> str:
    return "".join(f"- {one}\n" for one in sentences)


def answers(folder: Path) -> str:
    """Return the answers of a set at a glance; its report has them in full."""
    return "\n".join(map(result_set.write_glance, contents.read_results(folder).glances))


def _quick(published: Path) -> str:
    return answers(published / "quick")


def _summary(published: Path) -> str:
    return table(tables.tabulate_summary(label_rows(open_set(published / "quick").rows())))


def _headline(published: Path) -> str:
    """Return the lines of the compact table on both sides of the contrasts that `HEADLINE` tasks declared."""
    rows = label_rows(open_set(published / "quick").rows())
    summary = tables.tabulate_summary(rows)
    frame = rows.frame
    decided = frame.loc[frame["side"].notna() & frame["task"].isin(HEADLINE), PLACE].drop_duplicates().astype(str)
    places = set(decided.itertuples(index=False, name=None))
    shown = [
        place in places for place in summary[["setting", "cell", "clip"]].astype(str).itertuples(index=False, name=None)
    ]
    return table(summary[shown])


def _reach(published: Path) -> str:
    rows = contents.read_results(published / "reach").rows
    return _listed([escape(one) for one in gradient_reach.write_findings(observatory.measure_reach(rows.matched))])


def _pascanu(published: Path) -> str:
    """Return how many of the seeds solved each length and learning rate, under each way to train."""
    lines: dict[str, dict[str, str]] = {}
    for row in tables.tabulate_accuracy(label_rows(open_set(published / "pascanu").rows())).to_dict("records"):
        name, length = find_length(row["parameters"]) or ("length", float("nan"))
        place = f"{name}={length:g}, learning rate {row['learning_rate']:g}"
        ways = ["SGD", *([] if row["clip"] == NONE else [f"clip {row[CLIP]}"])]
        ways += [] if row["regulariser"] == NONE else [f"{row['regulariser']} {row['strength']:g}"]
        lines.setdefault(place, {"order": place})[", ".join(ways)] = f"{row['solved']}/{row['judged']}"
    return table(pd.DataFrame(lines.values()))


def _calibration(published: Path) -> str:
    result = calibration.calibrate(open_set(published / "calibration"))
    return f"{write_share_right(result)} Rows were planted, columns diagnosed:\n\n{table(result.confusion)}"


OVERHEADS = (interleaved.KEPT, interleaved.MISSED, INCONCLUSIVE)
"""The verdicts on our step over a hand-written loop."""

WIDE = 128
"""Hidden units of the steps whose overheads are shown one by one."""


def _speed(published: Path) -> str:
    """Return the first and the last three steps, and what the A/A test says."""
    timed = timing_contents.read_timings(open_set(published / "speed"))
    steps = write_pairs(timed.pairs)
    test = write_test(timed.test) if timed.test else []
    return _listed([escape(one) for one in (*steps[:3], *steps[-3:], *test)])


def _handwritten(published: Path) -> str:
    """Return how many comparisons are within what is wanted, and the LSTM of 128 units."""
    timed = timing_contents.read_timings(open_set(published / "speed-handwritten"))
    lines = timed.overheads
    sentences = []
    for what, part in lines.groupby(lines["loop"].map(interleaved.get_kind) == "loop", sort=False):
        counts = part["verdict"].value_counts()
        who = "hand-written loops" if what else "`model.fit` and Lightning's `Trainer`"
        verdicts = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in OVERHEADS)
        sentences.append(f"Against {who}, at most {part['at most'].iloc[0]:.2f} times as long is wanted: {verdicts}.")
    wide = title_steps(lines)[(lines["cell"] == "lstm") & (lines["hidden"] == WIDE)]
    return _listed([*sentences, *map(escape, write_overheads(wide))])


def _scaling(published: Path) -> str:
    folder = published / "scaling"
    if not folder.exists():
        return "Not published yet."
    pictures = [f"![{title}](scaling/figures/growth-{name}.png)\n\n" for name, title in GROWTH.items()]
    report = "[Its report](scaling/speed.md) has the exponents."
    return f"{report}{_flushed(folder)}\n\n{''.join(pictures)}"


def _flushed(folder: Path) -> str:
    """Say where PyTorch's step gained most by counting subnormal numbers as zero; nothing where that was not tried."""
    paths = interleaved.list_paths(timing_contents.read_timings(open_set(folder)).groups)
    step = [name for name in STEP if name in paths]
    ways = paths[paths["framework"] == "pytorch"].pivot_table("ms a step", step, "path").reset_index()
    if not {"eager", "flushed"} <= {*ways}:
        return ""
    most = ways.assign(gain=ways["eager"] / ways["flushed"]).sort_values("gain", ascending=False).iloc[0]
    return (
        f" Subnormal numbers: PyTorch's `eager` took up to {most['gain']:.2g} times as long as its `flushed` "
        f"({most['task']} {format_parameters(most['parameters'])} {most['cell']}, by the calibration)."
    )


def _native(published: Path) -> str:
    rows = contents.read_results(published / "native").rows
    changes = measure_changes(rows)
    return _listed([escape(one) for one in (*map(write_change, changes), *map(write_gap, explain_gaps(rows)))])


def _sets(published: Path) -> str:
    """Return one line a set, from the manifests."""
    lines = []
    for folder in manifests.list_published(published):
        one = read_json(folder / MANIFEST)
        frameworks = [f"{name} {join_words(versions)}" for name, versions in one["frameworks"].items()]
        lines.append(
            {
                "set": folder.relative_to(published).as_posix(),
                "cases": one["cases"] or None,
                "timings": one["timings"] or None,
                "frameworks": ", ".join(frameworks),
                "from": str(one["first"])[:10],
                "to": str(one["last"])[:10],
                "commits": join_words(one["commit"]),
                "machine": join_words(one["processor"]),
            }
        )
    return table(pd.DataFrame(lines))


def _decided(published: Path, name: str) -> str:
    """Return how each contrast that a set declared came out, and all settings in one table."""
    rows = label_rows(open_set(published / name).rows())
    declared = _listed([escape(write_contrast(one)) for one in judge_contrasts(rows)])
    return f"{declared}\n{table(tables.tabulate_summary(rows))}"


def _nightly(published: Path) -> str:
    folder = published / "nightly"
    if not folder.exists():
        return "Not published yet."
    rows = open_set(folder).rows()
    seeds = join_words(sorted(map(str, rows["seed"].unique())))
    of = f"{len(rows)} cases so far, seed {seeds} of {join_words(sorted(rows['framework'].unique()))}"
    return f"From [its report](nightly/report.md), {of}:\n\n{answers(folder)}"


def _ledger(published: Path) -> str:
    """Return how many claims have each verdict, and a line for each that rows decide."""
    folder = published / "ledger"
    if not folder.exists():
        return "Not published yet."
    verdicts = contents.read_results(folder).verdicts
    shown = tabulate_verdicts([one for one in verdicts if one.arms])[["claim", "implies", "found", "verdict"]]
    return f"{write_summary(verdicts)}: [each with its source and its settings](ledger/ledger.md).\n\n{table(shown)}"


def _advice(published: Path) -> str:
    """Return what the published advice says at the learning rate that was asked for, and over all of them."""
    lines = (published / "advice" / "adding-lstm" / "advice.md").read_text("utf-8").splitlines()
    return "\n".join(
        line for line in lines if line.startswith("- ") and ("adam 0.003" in line or "No threshold" in line)
    )


BLOCKS: dict[str, Callable[[Path], str]] = {
    "quick": _quick,
    "headline": _headline,
    "summary": _summary,
    "recipes": lambda published: _decided(published, "recipes"),
    "architectures": lambda published: _decided(published, "architectures"),
    "nightly": _nightly,
    "ledger": _ledger,
    "reach": _reach,
    "pascanu": _pascanu,
    "advice": _advice,
    "calibration": _calibration,
    "speed": _speed,
    "handwritten": _handwritten,
    "scaling": _scaling,
    "native": _native,
    "sets": _sets,
}
