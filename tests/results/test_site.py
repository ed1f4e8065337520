"""The page of a result set says what it has, of any set, and shows hostile names as text."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.results.analysis import overview, tables
from farreach.results.analysis.rows import Rows, label_rows
from farreach.results.figures import overview as overview_figures
from farreach.results.figures import palette, style
from farreach.results.record import Record
from farreach.results.report import contents, result_set, timing_contents
from farreach.results.report.speed_sentences import name_steps
from farreach.results.site import bundle, charts, encoding, page, rerun_command, row_dialog
from farreach.results.site import tables as lines
from farreach.results.storage.files import StoreError
from farreach.results.storage.parts import PARTS
from farreach.results.storage.result_set import Store
from farreach.results.storage.rows import REQUIRED
from farreach.results.storage.sanitising import clean_text
from farreach.results.storage.sets import open_set
from farreach.results.timing import interleaved
from tests.support import synthetic
from tests.support.pages import HOSTILE, read_shards, write_hostile, write_page
from tests.support.timings import make_ratios


def data(text: str) -> dict[str, Any]:
    """Return what the page holds for its scripts."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    whole: dict[str, Any] = json.loads(found[1])
    return whole


def table(text: str, name: str) -> pd.DataFrame:
    """Return a table of the page as its reader sees the data."""
    whole = data(text)
    spec = next(one for one in whole["tables"] if one["name"] == name)
    source = whole["sources"][spec["source"]]
    columns = {
        key: [part["words"][code] for code in part["codes"]] if "codes" in part else part["values"]
        for key, part in source.items()
    }
    return pd.DataFrame(columns)


class Seen(HTMLParser):
    """Collects the tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the made-up quick set and its page."""
    folder = tmp_path_factory.mktemp("site") / "quick"
    synthetic.main(folder)
    page.write(folder)
    return folder


@pytest.fixture(scope="module")
def text(quick: Path) -> str:
    return (quick / page.PAGE).read_text(encoding="utf-8")


# What stands in it


def test_the_five_questions_come_first_then_tables_then_pictures(text: str) -> None:
    places = [text.index(f'id="{name}"') for name in ("answers", "tables", "pictures", "again")]
    assert places == sorted(places)
    assert text.count("<h3>") >= 5
    assert "tensorflow (graph) is 1.7" in text


def test_nothing_is_loaded_from_elsewhere(quick: Path, text: str) -> None:
    seen = Seen()
    seen.feed(re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL))
    assert seen.addresses
    for address in seen.addresses:
        assert not re.match(r"[a-z]+:|//", address), address
        assert (
            address.startswith("#") or address in {"report.md", "speed.md", "tables/"} or (quick / address).exists()
        ), address
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src &#39;none&#39;") or policy[1].startswith("default-src 'none'")
    assert "unsafe-eval" not in policy[1]
    assert "http" not in policy[1]


def test_page_and_libraries_stay_below_eight_megabytes(quick: Path) -> None:
    beside = [path for path in (quick / page.FOLDER).iterdir() if not path.name.startswith("curves-")]
    assert (quick / page.PAGE).stat().st_size + sum(path.stat().st_size for path in beside) < 8e6


def test_the_tables_hold_what_the_report_holds(quick: Path, text: str) -> None:
    shown = table(text, "accuracy")
    whole = tables.tabulate_accuracy(label_rows(Store(quick).rows()))
    assert len(shown) == len(whole)
    assert shown["setting"].tolist() == whole["setting"].astype(str).tolist()
    np.testing.assert_allclose(shown["skill"].astype(float), whole["skill"].astype(float), rtol=1e-3)
    assert [one["name"] for one in data(text)["tables"]] == ["accuracy", "gradients", "steps", "ratios", "cases"]


def test_every_row_opens_its_cases_with_curves_diagnosis_environment_and_command(quick: Path, text: str) -> None:
    whole, rows = data(text), Store(quick).rows()
    assert sorted(whole["keys"]) == sorted(rows["key"])
    assert all(places for places in whole["opens"]["lines"])
    cases_ = read_shards(quick)
    assert set(cases_) == set(rows["key"])
    for at, key in enumerate(whole["keys"]):
        path = quick / page.FOLDER / f"curves-{at // whole['shard']}.js"
        assert f'"{key}"' in path.read_text()
    solved = next(one for one in cases_.values() if one["facts"]["solved"] is True and one["facts"]["cell"] == "lstm")
    assert len(solved["evaluations"]["loss"]) == 10
    assert len(solved["training"]["norm_before"]) == row_dialog.POINTS
    assert set(solved["flow"]["h"]) == {"start", "middle", "end"}
    assert "c" in solved["flow"]
    assert solved["diagnosis"].startswith(("healthy: solved", "clip inactive"))
    assert {"processor", "framework_version", "commit", "threads", "python"} <= set(solved["facts"])
    assert solved["again"].startswith("python -m benchmarks run quick --only task=")


def test_a_divergence_keeps_its_place_on_the_curve(quick: Path) -> None:
    torn = next(one for one in read_shards(quick).values() if one["facts"]["status"] == "diverged")
    assert None not in torn["training"]["loss"][:6]
    assert {*torn["training"]["loss"][6:]} == {None}
    assert torn["training"]["step"] == [*range(1, 101)]


def test_whole_tables_lie_beside_the_page_as_parquet(quick: Path) -> None:
    rows, back = Store(quick).rows(), pd.read_parquet(quick / page.FOLDER / "cases.parquet")
    assert len(back) == len(rows)
    assert set(rows.columns) <= set(back.columns)
    assert len(pd.read_parquet(quick / page.FOLDER / "lines.parquet")) == len(
        tables.tabulate_accuracy(label_rows(rows))
    )


def test_failures_of_the_runs_are_named(text: str) -> None:
    assert "killed | by *signal* 9 &lt;oom&gt;" in text


# What is best


def line(skill: list[float], **more: Any) -> list[Record]:
    floor = float(synthetic.FLOORS["adding"])
    return [synthetic.record(seed=seed, loss=floor * (1 - one), **more) for seed, one in enumerate(skill)]


def best(*records: Record) -> dict[str, bool]:
    table = lines.tabulate_lines(synthetic.label(*records), {})
    return dict(zip(table["framework"].astype(str), table["best skill"], strict=True))


def test_the_best_is_bold_with_every_line_whose_median_may_be_as_high() -> None:
    first = line([0.90, 0.91, 0.92, 0.93, 0.94, 0.95])
    tied = line([0.89, 0.91, 0.91, 0.90, 0.90, 0.92], framework="tensorflow", path="graph")
    behind = line([0.50, 0.51, 0.52, 0.53, 0.54, 0.55], framework="jax", path="scan")
    assert best(*first, *tied, *behind) == {"pytorch": True, "tensorflow": True, "jax": False}


def test_nobody_is_best_on_the_floor_or_with_fewer_than_six_seeds() -> None:
    low = [-0.02, 0.0, 0.03, 0.01, 0.0, 0.02]
    floored = [*line(low), *line(low[::-1], framework="tensorflow", path="graph")]
    assert not any(best(*floored).values())
    assert not any(best(*line([0.9] * 5), *line([0.5] * 5, framework="tensorflow", path="graph")).values())


def test_a_line_with_a_diverged_seed_is_never_best() -> None:
    torn = [*line([0.95, 0.96, 0.97, 0.96, 0.96, 0.97]), synthetic.diverged(seed=6)]
    assert best(*torn, *line([0.5, 0.51, 0.52, 0.5, 0.5, 0.51], framework="tensorflow", path="graph")) == {
        "pytorch": False,
        "tensorflow": True,
    }


def test_the_fastest_and_what_cannot_be_told_from_it_are_bold(tmp_path: Path) -> None:
    group = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0, "tensorflow (xla)": 1.0})
    facts = {
        "kernel": "k",
        "flops": 1_000_000,
        "peak_bytes": 2_000_000,
        "idle_bytes": 1_000_000,
        "compile_seconds": 1.0,
        "cpu_to_wall": 1.0,
    }
    contenders = [one | facts for one in group["contenders"]]
    whole = group | {"length": 50, "failed": [], "plan": {"limit": 40}, "contenders": contenders}
    shown = table(write_page(tmp_path, [], groups=[whole]), "steps")
    assert dict(zip(shown["implementation"], shown["best"], strict=True)) == {
        "jax (scan)": 1,
        "pytorch (eager)": 0,
        "tensorflow (xla)": 1,
    }


# Hostile names


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    text = write_hostile(tmp_path)
    seen = Seen()
    seen.feed(text)
    assert seen.tags.count("script") == 2
    assert seen.tags.count("img") == 0
    assert not seen.handlers
    assert "49" not in re.findall(r"<h1>.*?</h1>", text)[0]
    for part in (text, *(path.read_text() for path in (tmp_path / page.FOLDER).glob("curves-*.js"))):
        assert "<script>window" not in part
        assert "<img src=x" not in part
    assert set(table(text, "cases")["learner"]) == {*map(clean_text, HOSTILE)}
    assert {one["facts"]["framework"] for one in read_shards(tmp_path).values()} == {*map(clean_text, HOSTILE)}


def test_labels_of_pictures_are_escaped() -> None:
    name = "<b>x</b> <a href='https://a'>y</a>"
    rows = synthetic.label(
        *[synthetic.record(seed=at, parameters=json.dumps({"T": 50, "name": name})) for at in range(3)]
    )
    made = charts.draw_atlas(overview.tabulate_atlas(rows))[0]
    assert "&lt;b&gt;" in json.dumps(made.figure)
    assert "<a href" not in json.dumps(made.figure)


# The command


@pytest.mark.parametrize(
    "name",
    ["quick", "native", "reach", "pascanu"],
)
def test_the_command_of_a_published_row_selects_that_case_alone(name: str) -> None:
    rows = open_set(registry.ROOT / "results" / "published" / name).rows()
    rows = rows[rows["suite"] == name]  # some of native were taken over from a former quick
    also = rerun_command.list_varying(rows)
    frameworks = sorted(set(rows["framework"]))
    suites = {one: suite.load_suite(one).list_cases(frameworks) for one in set(rows["suite"])}
    for row in rows.sample(25, random_state=0).to_dict("records"):
        words = shlex.split(rerun_command.write_command(row, also))
        assert words[:5] == ["python", "-m", "benchmarks", "run", row["suite"]]
        assert words[-2:] == ["--out", rerun_command.FOLDER]
        only = [words[at + 1] for at, word in enumerate(words) if word == "--only"]
        chosen = suite.narrow_cases(suites[row["suite"]], only, row["suite"])
        assert len(chosen) == 1, words
        assert chosen[0].to_json() | {"parameters": 0} == {
            field: (None if isinstance(row[field], float) and np.isnan(row[field]) else row[field])
            for field in chosen[0].to_json()
        } | {"parameters": 0}


def test_the_command_keeps_the_suite_the_device_and_what_narrowed_it_otherwise() -> None:
    made = "python -m benchmarks run --jobs 2 --only seed=0 --only seed=1 --only layers=2 'my suite.toml' --device=cuda"
    one = synthetic.record(command=made, device="cuda", threads=4, seed=1, layers=2).to_row()
    words = shlex.split(rerun_command.write_command(one, []))
    assert words[4] == "my suite.toml"
    assert words.count("seed=1") == 1
    assert "seed=0" not in words
    assert "layers=2" in words
    assert words[words.index("--device") + 1] == "cuda"
    assert words[words.index("--threads") + 1] == "4"
    assert "--jobs" not in words


@pytest.mark.parametrize(("bias", "named"), [(None, "forget_bias=1"), (5.0, "forget_bias=5")])
def test_the_command_names_what_stands_for_a_value(bias: float | None, named: str) -> None:
    rows = synthetic.rows(synthetic.record(), synthetic.record(forget_bias=5.0, seed=1))
    row = synthetic.record(forget_bias=bias).to_row()
    assert named in shlex.split(rerun_command.write_command(row, rerun_command.list_varying(rows)))


@pytest.mark.parametrize("made", ["python -m benchmarks calibrate", "python mine.py 'a b'", "python 'unclosed"])
def test_a_row_that_run_did_not_make_shows_the_command_that_did(made: str) -> None:
    assert rerun_command.write_command(synthetic.record(command=made).to_row(), []) == made


# Sets that carry little, or much


def one_framework() -> list[Record]:
    return [one for one in synthetic.quick() if (one.case.framework, one.case.task) == ("pytorch", "adding")]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "no case has finished"),
        ([synthetic.record()], "1 case<"),
        ([synthetic.diverged(), synthetic.diverged(seed=1)], "2 diverged, lstm on adding"),
        (one_framework(), "Only pytorch ran"),
        ([synthetic.record(mode="native")], "own defaults"),
        ([synthetic.record(replicate=1)], "1 case<"),
    ],
    ids=["empty", "one case", "only failed", "one framework", "native", "copies alone"],
)
def test_a_set_that_carries_little_gets_a_page_that_says_what_it_has(
    tmp_path: Path, records: list[Record], expected: str
) -> None:
    failed = [{"case": "adding lstm", "reason": "no memory"}] if not records else []
    text = write_page(tmp_path, records, runs=[synthetic.run_line(failed=failed)])
    assert expected in text
    assert ("no memory" in text) == (not records)
    shown = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(nan|None|inf)\b", shown)


def test_rows_of_an_older_schema_get_a_page(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, one_framework())
    for path in (tmp_path / "rows").iterdir():
        row = json.loads(path.read_text())
        path.unlink()
        row = {name: value for name, value in row.items() if name in REQUIRED} | {"schema": 0}
        row["key"] = synthetic.make_key({"metric_version": 1} | row)
        path.with_stem(row["key"]).write_text(json.dumps(row))
        for part in PARTS:
            for beside in (tmp_path / part).glob(f"{path.stem}.*"):
                beside.rename(beside.with_stem(row["key"]))
    page.write(store.folder)
    text = (tmp_path / page.PAGE).read_text()
    assert "schema 0" in text
    assert "not looked at for vanishing gradients: the gradient through time was not measured" in text


def test_rows_without_curves_and_curves_that_are_damaged_open_what_is_there(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, one_framework()[:2])
    keys = sorted(store.list_finished())
    (tmp_path / "curves" / f"{keys[0]}.parquet").write_bytes(b"no parquet")
    (tmp_path / "flow" / f"{keys[1]}.parquet").unlink()
    page.write(tmp_path)
    found = read_shards(tmp_path)
    assert found[keys[0]]["training"] == {}
    assert found[keys[0]]["evaluations"]
    assert found[keys[1]]["flow"] == {}


def many(count: int) -> Rows:
    """Return labelled rows of so many cases, the line of each being its own but for three seeds."""
    made = synthetic.rows(
        *[one for one in synthetic.quick() if one.case.replicate == 0 and one.case.task != "translation"]
    )
    parts = [
        made.assign(hidden=8 + at // 3, seed=made["seed"] + 3 * (at % 3), key=[f"{at:05d}{key}" for key in made["key"]])
        for at in range(-(-count // len(made)))
    ]
    return label_rows(pd.concat(parts, ignore_index=True).head(count))


def test_a_page_of_more_rows_than_it_can_hold_says_so_and_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST", 150)
    rows = many(1_000)
    store = Store(tmp_path)
    page.write_page(contents.Results(store, rows, [], [], timing_contents.read_timings(store)))
    text = (tmp_path / page.PAGE).read_text()
    assert "The page holds 150 of the 1,000" in text
    assert len(data(text)["keys"]) == 150
    assert len(read_shards(tmp_path)) == 150
    assert len(pd.read_parquet(tmp_path / page.FOLDER / "cases.parquet")) == 1_000
    assert re.search(r"The page holds the first 150 of \d+ lines", text)


def test_ten_thousand_lines_fit_below_eight_megabytes() -> None:
    rows = many(1_500)
    summed, each = lines.tabulate_lines(rows, {}), lines.tabulate_runs(rows, {})
    made = [lines.make_accuracy(summed), lines.make_gradients(summed), lines.make_cases(each)]
    size = len(json.dumps(encoding.encode_tables(made), separators=(",", ":"))) + 20 * (len(summed) + len(each))
    libraries = sum(len(bundle.read_bundled(*one)) for one in LIBRARIES)
    assert libraries + size / len(each) * 10_000 < 8e6


LIBRARIES = [
    ("plotly", "package_data", "plotly.min.js"),
    ("itables", "html", "dt_bundle.js"),
    ("itables", "html", "dt_bundle.css"),
]


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        page.write(tmp_path / "nowhere")


def test_a_table_library_without_its_entry_is_one_line() -> None:
    with pytest.raises(StoreError, match="exports no jQuery"):
        bundle._wrap_module("var a=1;export{a as default};")  # noqa: SLF001


# The same pictures for a paper


@pytest.mark.slow
def test_every_picture_of_the_page_has_its_twins_for_a_paper(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 60)
    records = [
        *synthetic.quick(),
        *[synthetic.record(parameters='{"T": 100}', seed=5 + seed, framework="pytorch") for seed in range(2)],
    ]
    folder = quick.parent / "twins"
    synthetic.write(folder, records)
    shutil.copytree(quick / "timings", folder / "timings")
    result_set.write(folder)
    page.write(folder)
    text = (folder / page.PAGE).read_text()
    drawn = set(data(text)["charts"])
    answers = {"success-length", "gaps"}  # which stand beside an answer
    assert {"atlas-adding", "atlas-copy", "atlas-speech", "ratios", "reach-length"} == drawn - answers
    for name in drawn - answers:
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1_000
        assert (folder / "figures" / f"{name}.svg").stat().st_size > 1_000
        assert f"figures/{name}.svg" in text


def test_a_picture_for_a_paper_made_again_is_the_same_file(tmp_path: Path) -> None:
    found = overview.tabulate_atlas(synthetic.label(*synthetic.quick()))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        style.save_figure(overview_figures.draw_atlas(found)["adding"], folder / "atlas.png", vector=True)
    assert (tmp_path / "a" / "atlas.svg").read_bytes() == (tmp_path / "b" / "atlas.svg").read_bytes()


def test_the_atlas_counts_seeds_and_names_the_share_of_steps_clipped() -> None:
    found = overview.tabulate_atlas(synthetic.label(*synthetic.quick()))
    ladder = found[(found["task"] == "adding") & (found["cell_label"] == "lstm")]
    said = {str(row["clip_label"]): overview.describe_field(row) for row in ladder.to_dict("records")}
    assert said == {
        "none": ("0/3", ""),
        "norm 0.01": ("3/3", "100 %"),
        "norm 0.1": ("3/3", "97 %"),
        "norm 1": ("1/3", "20 %"),
        "norm 10": ("0/3", "0 %"),
    }


def test_reach_is_drawn_against_length_where_there_are_two() -> None:
    one = [
        synthetic.looked_at(synthetic.record(parameters=f'{{"T": {at}}}', seed=seed))[0]
        for at in (50,)
        for seed in (0, 1)
    ]
    two = [
        synthetic.looked_at(synthetic.record(parameters=f'{{"T": {at}}}', seed=seed))[0]
        for at in (50, 100)
        for seed in (0, 1)
    ]
    assert overview.tabulate_reach(synthetic.label(*one)).empty
    found = overview.tabulate_reach(synthetic.label(*two))
    assert found["length"].tolist() == [50, 100]
    assert found["reach"].between(0, 1).all()
    assert overview_figures.draw_reach(found)
    rounded = found.assign(low=found["reach"] + 1e-12, high=found["reach"] - 1e-12)  # as the mean of three times 0.1 is
    assert overview_figures.draw_reach(rounded)
    assert not overview_figures.draw_reach(found.iloc[:0])


def test_a_framework_has_one_colour_in_every_picture() -> None:
    rows = synthetic.label(*[synthetic.looked_at(synthetic.record(parameters=f'{{"T": {at}}}'))[0] for at in (50, 100)])
    drawn = charts.draw_reach(overview.tabulate_reach(rows)).figure["data"][0]
    assert drawn["line"]["color"] == palette.LOOKS["pytorch"].colour
    pairs = name_steps(interleaved.compare_pairs([make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0})]))
    assert charts.draw_forest(pairs).figure["data"][0]["marker"]["color"] == palette.LOOKS["jax"].colour


def test_damaged_timings_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "timings").mkdir()
    (tmp_path / "timings" / "x.json").write_text("{}")
    (said,) = timing_contents.read_timings(open_set(tmp_path)).damaged
    assert re.match(r"timings/x\.json is damaged: .*: it was set aside", said)
    assert "\n" not in said
