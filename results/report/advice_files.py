"""The files of an advice: advice.md, its figure and its tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.results.analysis import certificates, threshold_advice
from farreach.results.analysis.labels import join_words
from farreach.results.figures import advice as advice_figure
from farreach.results.figures import style
from farreach.results.report import advice
from farreach.results.report.advice import Advice
from farreach.results.report.markdown import code, escape, table
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import write_text
from farreach.results.storage.staging import replace_files
from farreach.results.vocabulary import FEWEST_SEEDS

RULE = (
    "A case's *average skill* is that over the evaluations of its training, so that it rises when the task is "
    "learned better and when it is learned sooner; a skill below 0 counts as 0, and so does an evaluation that a "
    "diverged run never reached. The best point of a learning rate is the one that most seeds solved and, among "
    "those, the one with the highest average skill; no clipping takes part. A threshold is *as good as the best* where "
    "as many seeds solved the task and its average skill falls short of the best's, seed by seed, by no more than one "
    f"standard error of that gap, or by {threshold_advice.MARGIN:g}, whichever is more. The *plateau* is the unbroken "
    "run of tried thresholds that are as good as the best; recommended is the one nearest to its geometric middle, "
    "leaving out those that never clipped where others are there. In the table brackets hold the range over "
    "seeds, and steps are those to solve it, the median over the seeds that did. Whether more seeds solve the task "
    "than without a clip is told by Fisher's exact test, corrected for the thresholds tried (Holm), from "
    f"{FEWEST_SEEDS} seeds on."
)
CAPTION = (
    "Upper: the average skill, mean and range over seeds; for the named learning rate the plateau is shaded and the "
    "recommended threshold ringed. Next: the share of steps clipped. For a clip by norm, below: the norms of the runs "
    "without a clip, a box from the 10th to the 90th percentile with the median, a line from the 1st to the 99th, a "
    "diamond at the average.\n"
)


def write_files(folder: Path, found: Advice) -> list[Path]:
    """Write advice.md, its figure and its tables into a folder and return their paths.

    Raises `StoreError` where it cannot be written.
    """
    lines = pd.concat([one.lines.assign(learning_rate=one.learning_rate) for one in found.verdicts], ignore_index=True)
    marks = {one.learning_rate: one for one in found.verdicts}
    pairs = list(zip(lines["learning_rate"], lines["threshold"], strict=True))
    lines["plateau"] = [at in marks[rate].plateau for rate, at in pairs]
    lines["recommended"] = [at == marks[rate].recommended for rate, at in pairs]
    lines["verdict"] = [verdict.name.lower() for verdict in lines["verdict"]]
    lines = lines[["learning_rate", *(name for name in lines if name != "learning_rate")]]
    paths = [folder / name for name in ("advice.md", "advice.png", "points.csv", "cases.csv", "norms.csv")]
    with replace_files(folder, {}) as stage:
        write_text(stage / paths[0].name, write_page(found))
        figure = advice_figure.draw(found.verdicts, found.thumbs, found.norms, clip=found.clip, named=found.named)
        style.save_figure(figure, stage / paths[1].name)
        for path, frame in zip(paths[2:], (lines, found.cases, found.norms), strict=True):
            write_csv(stage / path.name, frame, float_format="%.6g")
    return paths


def write_page(found: Advice) -> str:
    """Return advice.md."""
    commands = sorted({str(command) for command in found.rows["command"]})
    commits = join_words(sorted({str(commit) for commit in found.rows["commit"]}))
    coverage = certificates.count_certified(found.rows)
    under = f"{coverage.certified} of them under a certificate"
    under += f" ({join_words(coverage.digests)})" if coverage.certified else ""
    parts = [
        f"# Which clip threshold? {escape(found.setting)}\n",
        "".join(f"- {escape(sentence)}\n" for sentence in advice.write_findings(found)),
        "![Average skill and clip fraction against the threshold, one line per learning rate](advice.png)\n",
        CAPTION,
        "## What was tried\n",
        table(advice.tabulate_tried(found).drop(columns=["threshold", "recommended"])),
        "## The gradient norms without a clip\n",
        table(found.norms.rename(columns={"learning_rate": "learning rate"})),
        f"## The rule\n\n{RULE}\n",
        "## Made by\n",
        "".join(f"- {code(command)}\n" for command in commands),
        f"{len(found.rows)} cases, {found.rows['seed'].nunique()} seeds; commit {escape(commits)}; {escape(under)}.\n",
        "`points.csv` has the first table in numbers, `cases.csv` every case, `norms.csv` the norms.\n",
    ]
    return "\n".join(parts)
