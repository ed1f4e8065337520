"""The report says what the data carry, names what is missing, and draws figures that can be read."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from farreach.results.analysis import tables
from farreach.results.analysis.rows import label_rows
from farreach.results.figures import curves as curve_figures
from farreach.results.figures import palette, style
from farreach.results.figures import training as drawn
from farreach.results.record import Record
from farreach.results.report import contents, findings, result_set, terminal
from farreach.results.report.answers import Answer
from farreach.results.report.answers.base import AGREE, FASTER, GRADIENTS, SOLVED, THRESHOLD
from farreach.results.report.markdown import escape
from farreach.results.report.speed_sentences import label_timed_steps
from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import OLD_TIMES
from farreach.results.storage.result_set import Store
from farreach.results.timing import interleaved
from tests.support import synthetic
from tests.support.timings import make_pair, write_groups

QUESTIONS = (FASTER, SOLVED, THRESHOLD, GRADIENTS, AGREE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the whole made-up set and its report."""
    path = tmp_path_factory.mktemp("runs") / "quick"
    synthetic.main(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 60)  # pixels cost time and no test looks at them
        result_set.write(path)
    return path


@pytest.fixture(scope="module")
def sentences(folder: Path) -> list[str]:
    """Return the findings of the made-up set."""
    results = contents.read_results(folder)
    return findings.write_findings(results.rows, results.runs)


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Figure]:
    """Return the figures of two tasks: the one with the most facets, the one with the longest title."""
    store = Store(folder)
    rows = store.rows()
    rows = label_rows(rows[rows["task"].isin(["adding", "translation"])]).as_drawn.frame
    timed = label_timed_steps(interleaved.read_groups(store))
    made = {"step time": drawn.draw_step_time(timed.assign(cell_label=timed["cell"], activation=None), source="timed")}
    made |= {f"skill {task}": figure for task, figure in drawn.draw_skill(rows).items()}
    made |= {f"loss {task}": figure for task, figure in curve_figures.draw_learning(rows, store.evaluations).items()}
    made |= {f"norm {task}": figure for task, figure in curve_figures.draw_gradient_norm(rows, store.curves).items()}
    return made | {f"clip {task}": figure for task, figure in drawn.draw_clip_fraction(rows).items()}


def has_level(axes: Axes, level: float) -> bool:
    """Say whether a horizontal line is drawn at this level."""
    return any(np.asarray(line.get_ydata()).tolist() == [level, level] for line in axes.lines)


def find(sentences: list[str], *parts: str) -> str:
    """Return the one sentence that holds all parts."""
    found = [one for one in sentences if all(part in one for part in parts)]
    assert len(found) == 1, f"{parts}: {found} among {sentences}"
    return found[0]


def test_a_run_that_ended_because_it_was_solved_keeps_its_last_loss_in_the_mean() -> None:
    early = synthetic.record(until="solved", steps_done=800)
    late = synthetic.record(until="solved", seed=1, steps_to_solve=800)
    ends = {early.key: 800, late.key: 1000}

    def load(key: str) -> pd.DataFrame:
        steps = np.arange(100, ends[key] + 1, 100)
        return pd.DataFrame({"step": steps, "loss": np.where(ends[key] == 800, 0.01, 0.05)})

    rows = label_rows(synthetic.rows(early, late)).as_drawn.frame
    (axes,) = curve_figures.draw_learning(rows, load)["adding"].axes
    drawn_line = next(line for line in axes.lines if len(line.get_xdata()) == 10)
    assert np.asarray(drawn_line.get_ydata()) == pytest.approx(np.full(10, 0.03))


# What it says


def test_a_finding_says_nothing_that_an_answer_says(folder: Path, sentences: list[str]) -> None:
    results = contents.read_results(folder)
    asked = results.answers
    for part in (part for one in asked for part in one.parts):
        assert not any(part.lower() in finding.lower() for finding in sentences)
    for words in ("solved it", "source gain", "times as fast", "certificate", "decides", "Diagnoses of"):
        assert not any(words in finding for finding in sentences), words


def test_a_clip_that_was_never_active_is_said_to_carry_no_evidence(sentences: list[str]) -> None:
    one = find(sentences, "Clip never active: these runs carry no evidence about clipping: ")
    assert "norm 10 in adding T=50 (adam 0.003), lstm (pytorch and tensorflow)" in one


def test_the_case_that_diverges_without_clipping_and_trains_with_it(sentences: list[str]) -> None:
    one = find(sentences, "Divergence in adding T=20 (sgd 0.1), rnn")
    assert "without clipping diverged: pytorch and tensorflow 1/1 seeds each" in one
    assert re.search(r"with norm 1 trained: pytorch skill 0\.6\d \(20 % of steps clipped\)", one)


def test_the_wall_time_is_said(sentences: list[str]) -> None:
    assert "Training and evaluation took 88 % of the workers' time in the newest run" in find(sentences, "imports 3 %")


def test_the_report_opens_with_answers_then_findings_and_embeds_every_figure(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    asked = [text.index(f"**{one}**") for one in QUESTIONS]
    assert [*asked, text.index("cases finished")] == sorted([*asked, text.index("cases finished")])
    assert text.index("cases finished") < text.index("## Tables") < text.index("## Figures") < text.index("## Failures")
    links = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert links == {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    assert "killed \\| by \\*signal\\* 9 &lt;oom&gt;" in text
    assert "python -m benchmarks report DIR" in text
    assert str(folder.parent) not in text


def test_every_table_is_written_as_csv_and_markdown(folder: Path) -> None:
    made = {path.name for path in (folder / "tables").iterdir()}
    names = {"summary", "accuracy", "metrics", "gradients", "divergence", "agreement", "speed", "speed-ratios"}
    more = {"step-times", "time-shares", "certificates", "reach", "spectra", "diagnoses"}
    assert made == {f"{name}.{kind}" for name in names | more for kind in ("csv", "md")}
    back = pd.read_csv(folder / "tables" / "accuracy.csv")
    ladder = back[(back["cell"] == "lstm") & (back["parameters"] == "T=50") & (back["framework"] == "pytorch")]
    assert dict(zip(ladder["clip"], ladder["solved"], strict=True)) == {
        "none": 0,
        "norm 0.01": 3,
        "norm 0.1": 3,
        "norm 1": 1,
        "norm 10": 0,
    }


def test_a_report_made_again_leaves_no_stale_figure(tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "skill-old.png").write_text("")
    paths = result_set.write(tmp_path)
    assert not (tmp_path / "figures" / "skill-old.png").exists()
    assert all(path.exists() for path in paths)
    assert paths[0].name == "report.md"


def test_the_terminal_shows_the_same_five_answers_with_names_as_text(folder: Path) -> None:
    console = Console(width=4_000, record=True, file=io.StringIO())
    asked = contents.read_results(folder).answers
    console.print(terminal.render_answers(asked))
    shown = console.export_text()
    page = (folder / "report.md").read_text()
    for one in asked:
        for line in one.lines():
            assert line in shown
            assert escape(line) in page
    console.print(terminal.render_answers([Answer(FASTER, "", ("[bold]x[/bold] wins",))]))
    assert "[bold]x[/bold] wins" in console.export_text()


def test_the_terminal_table_shows_each_case_once() -> None:
    rows = synthetic.label(*synthetic.quick())
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(terminal.render_summary(rows))
    text = console.export_text()
    assert text.count("copy T=30 (adam 0.003)") == 1
    assert "never clipped" in text
    assert list(tables.tabulate_summary(rows).columns) == [
        "setting",
        "cell",
        "clip",
        "pytorch",
        "tensorflow",
        "clipped",
    ]


# Sets that lack something


def one_framework() -> list[Record]:
    return [synthetic.record(seed=seed) for seed in (0, 1)]


def unsolved() -> list[Record]:
    miss: dict[str, Any] = {"solved": False, "loss": 0.16, "steps_to_solve": None}
    return [synthetic.record(framework=name, **miss) for name in ("pytorch", "jax")]


def only_diverged() -> list[Record]:
    return [synthetic.diverged(seed=seed) for seed in (0, 1)]


def no_gain() -> list[Record]:
    return [synthetic.record(task="translation", solved=None, steps_to_solve=None, loss=4.0, score=None, metrics={})]


def native_only() -> list[Record]:
    return [synthetic.record(mode="native")]


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (one_framework(), ["Only pytorch ran, so nothing is said about agreement."]),
        (
            [synthetic.record()],
            [
                "the only one tried",
                "Not known: no training step was timed",
                "Step times inside the training runs (no timings)",
                "Where the wall time went is not known",
            ],
        ),
        (
            unsolved(),
            [
                "adding: none of those tried (no clip), since no cell solved it",
                "no case has two frameworks and a permuted replicate",
            ],
        ),
        (only_diverged(), ["no other clip ran beside it", "lstm not shown at any T (at 50 0 of 2 seeds"]),
        (no_gain(), ["Translation has no criterion, and its source gain is missing from every row"]),
        (native_only(), ["No case ran in mode matched"]),
        ([], ["No case has finished: there is nothing to compare."]),
    ],
    ids=["one framework", "one case", "unsolved", "only diverged", "no gain", "native only", "empty"],
)
def test_a_set_that_lacks_something_gets_a_report_that_says_so(
    tmp_path: Path, records: list[Record], expected: list[str]
) -> None:
    synthetic.write(tmp_path, records)
    result_set.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert [one for one in expected if one not in text] == []
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_set_without_curves_or_with_step_times_of_old_still_gets_its_report(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, one_framework())
    for part in ("curves", "evaluations"):
        for path in (store.folder / part).iterdir():
            path.unlink()
    (tmp_path / OLD_TIMES).write_text("{")
    made = {path.name for path in result_set.write(tmp_path)}
    assert {"skill-adding.png", "step-time.png"} <= made
    assert not any(name.startswith(("learning", "gradient-norm")) for name in made)
    assert "speed.json is no longer read" in (tmp_path / "report.md").read_text()


def test_an_evaluation_free_diverged_case_is_drawn_without_learning_curves(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [])
    one = synthetic.diverged()
    one, parts = synthetic.looked_at(one)
    store.write(one, parts | {"evaluations": pd.DataFrame([])})
    assert not any("learning" in path.name for path in result_set.write(tmp_path))


def test_speed_alone_is_reported_without_rows(tmp_path: Path) -> None:
    write_groups(tmp_path, make_pair(2.0))
    result_set.write(tmp_path)
    assert "lstm: jax (scan) is" in (tmp_path / "report.md").read_text()


def test_a_missing_folder_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        result_set.write(tmp_path / "nowhere")


# What it draws


def test_every_figure_is_a_picture_on_which_something_is_drawn(folder: Path) -> None:
    pictures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    png, svg = ({name for name in pictures if name.endswith(kind)} for kind in (".png", ".svg"))
    assert png | svg == pictures.keys()
    assert len([name for name in png if not name.startswith(("atlas", "ratios", "reach-length"))]) == 6 * 4 + 1
    assert {"ratios.svg", "atlas-adding.svg"} <= svg  # for papers
    assert {name.replace(".svg", ".png") for name in svg} <= png
    for name in png:
        with Image.open(folder / "figures" / name) as image:
            assert min(image.size) >= 150, name  # at the 60 dots an inch of these tests
            colours = image.convert("RGB").getcolors(image.width * image.height)
            assert colours is not None
            assert len(colours) >= 20, name  # text alone has its greys; a blank page has one
    assert all(len(pictures[name]) > 4_000 and pictures[name].startswith(b"<?xml") for name in svg)


def test_every_axis_has_labels_and_something_drawn(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        assert figure.axes, name
        for axes in figure.axes:
            assert axes.get_xlabel(), name
            assert axes.get_ylabel(), name
            assert axes.get_title(), name
            assert axes.has_data(), name


def test_a_figure_has_one_legend_without_duplicates(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        assert len(figure.legends) == 1, name
        assert all(axes.get_legend() is None for axes in figure.axes), name
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels, name
        assert len(labels) == len(set(labels)), name


def test_thresholds_stand_in_order_none_first(figures: dict[str, Figure]) -> None:
    (wide,) = [axes for axes in figures["skill adding"].axes if "T=50" in axes.get_title().replace("\xa0", " ")]
    labels = [text.get_text() for text in wide.get_xticklabels()]
    assert labels == ["none", "1", "none", "0.01", "0.1", "1", "10", "none", "1"]
    assert [text.get_text() for text in wide.get_xticklabels(minor=True)] == ["rnn", "lstm", "gru"]


def test_the_gradient_norm_is_logarithmic_and_has_its_threshold_drawn_in(figures: dict[str, Figure]) -> None:
    for axes in figures["norm adding"].axes:
        assert axes.get_yscale() == "log"
        assert has_level(axes, 1.0)


def test_the_floor_is_drawn_into_the_learning_curves(figures: dict[str, Figure]) -> None:
    for axes in figures["loss adding"].axes:
        assert has_level(axes, 1 / 6)


def test_text_does_not_overlap_in_any_figure(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        figure.draw_without_rendering()
        for axes in figure.axes:
            for minor in (False, True):
                boxes = [text.get_window_extent() for text in axes.get_xticklabels(minor=minor) if text.get_text()]
                apart = all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
                assert apart, (name, axes.get_title())
            height = axes.get_window_extent().height
            assert axes.yaxis.label.get_window_extent().height <= height, (name, axes.get_title())
        titles = [axes.title.get_window_extent() for axes in figure.axes]
        assert not any(a.overlaps(b) for at, a in enumerate(titles) for b in titles[at + 1 :]), name
        inside = figure.bbox
        assert all(inside.x0 <= title.x0 and title.x1 <= inside.x1 for title in titles), name
        legend = figure.legends[0].get_window_extent()
        assert not any(legend.overlaps(title) for title in titles), name


def test_a_framework_looks_the_same_in_every_set() -> None:
    def looks(*names: str) -> dict[str, palette.Look]:
        return palette.choose_looks(pd.DataFrame({"learner": names, "framework": names, "path": "eager"}))

    alone, together = looks("jax"), looks("tensorflow", "jax", "pytorch", "other")
    assert alone["jax"] == together["jax"] == palette.LOOKS["jax"]
    assert len({look.colour for look in together.values()}) == len({look.marker for look in together.values()}) == 4


def test_the_colours_are_those_that_colour_blind_people_tell_apart() -> None:
    assert list(sns.color_palette("colorblind").as_hex()) == palette.COLOURS


def test_value_and_norm_ladders_stand_apart() -> None:
    records: list[dict[str, Any]] = [
        {"clip": "none"},
        {"clip": "norm", "threshold": 1.0},
        {"clip": "value", "threshold": 0.01},
    ]
    rows = synthetic.label(*(synthetic.record(**one) for one in records)).frame
    (axes,) = drawn.draw_skill(rows)["adding"].axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["none", "1", "0.01"]
    assert [text.get_text() for text in axes.get_xticklabels(minor=True)] == ["lstm (norm)", "lstm (value)"]


FACTS = {"learner": "pytorch", "framework": "pytorch", "path": "eager", "activation": None}


def test_step_times_have_one_kind_of_axis_with_ticks_to_read() -> None:
    middles = {"a": (2.0, 90.0), "b": (20.0, 60.0), "c": (5.0, 8.0)}
    lines = [
        FACTS
        | {"setting": setting, "cell": cell, "cell_label": cell, "step ms": at, "low ms": at * 0.9, "high ms": at * 1.1}
        for setting, pair in middles.items()
        for cell, at in zip(("rnn", "gru"), pair, strict=True)
    ]
    figure = drawn.draw_step_time(pd.DataFrame(lines), source="made up")
    figure.draw_without_rendering()
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert len([at for at in axes.get_yticks() if low <= at <= high]) >= 2
