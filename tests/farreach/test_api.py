"""The suite from Python: what `load` and `run` return is what lies on the disk, and the notebook runs."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest

import farreach
from farreach.benchmarks.matrix import registry
from farreach.curves import Curves, Step
from farreach.results.publishing.packing import pack_set
from farreach.results.storage.result_set import Store

NOTEBOOK = registry.ROOT / "docs" / "python.ipynb"


def run_notebook(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Run the cells of a notebook as Jupyter would, in one namespace; return it and what each cell shows.

    Jupyter itself is not needed for cells without magic, and is not installed for this alone.
    """
    space: dict[str, Any] = {}
    shown = []
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(path), "exec"), space)  # noqa: S102 - it is our own notebook
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), str(path), "eval"), space))  # noqa: S307 - the same
    return space, shown


def test_the_notebook_runs_and_shows_what_lies_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space, (table, diagnoses, norms, flow, losses, gradients) = run_notebook(NOTEBOOK)
    results = space["results"]
    store = Store(tmp_path / "two")
    rows = store.rows()
    assert results.rows.equals(rows)
    assert (tmp_path / "two" / "report.md").exists()
    assert rows["command"].tolist() == 2 * ["python -m benchmarks run two.toml --out two --jobs 1"]
    assert table["skill"].tolist() == rows["skill"].tolist()
    assert diagnoses["key"].tolist() == rows["key"].tolist()
    assert all(diagnoses["reason"])
    for key, clip in zip(rows["key"], rows["clip"], strict=True):
        curves, flows = store.curves(key), store.flow(key)
        assert norms.loc[clip, "norm_before"] == curves["norm_before"].max()
        assert results.curves[results.curves["key"] == key].drop(columns="key").to_numpy() == pytest.approx(
            curves.to_numpy(), abs=0
        )
        last = flows[flows["step"] == flows["step"].max()]
        assert flow[clip].tolist() == last["h"].tolist()
        assert losses[clip].tolist() == store.evaluations(key)["loss"].tolist()
    assert norms.loc["norm", "norm_after"] <= 0.1 * (1 + 1e-6)
    assert len(gradients) == 1
    pack_set(tmp_path / "two", tmp_path / "packed")
    packed = farreach.load(tmp_path / "packed")
    assert packed.rows["key"].tolist() == rows["key"].tolist()
    for part in ("curves", "evaluations", "flow", "spectra"):
        assert getattr(packed, part).equals(getattr(results, part)), part
    assert len(results.runs) == 1
    assert results.runs["finished"].tolist() == [2]


def test_a_recorded_run_is_loaded_with_its_curves_and_the_norms_of_its_layers(tmp_path: Path) -> None:
    facts = {"framework": "pytorch", "framework_version": "2", "path": "eager", "threads": None}
    facts |= {"device": "cpu", "dtype": "float32"}
    curves = Curves(tmp_path / "mine", "my lstm", {"cell": "lstm", "optimizer": "adam", "learning_rate": 0.1}, facts)
    curves.clips("norm", 1.0)
    curves.add([Step(1.0, 0.1 + 0.2, 0.3, 0.0), Step(0.5, 4.0, 1.0, 1.0), Step(None, 2.0, 1.0, 1.0)])
    head = ["step", "a.weight before", "a.weight after", "a before before", "a before after"]
    curves.add_layers(head, [["1", "0.1", "0.2", "", ""], ["2", "3.0", "1.0", "4.0", "2.0"]])
    curves.close()
    results = farreach.load(tmp_path / "mine")
    assert results.rows["clip"].tolist() == ["norm"]
    assert results.curves["norm_before"].tolist() == [0.1 + 0.2, 4.0, 2.0]
    assert math.isnan(results.curves["loss"].iloc[2])
    assert results.evaluations.empty
    assert results.flow.empty
    assert results.layers.drop(columns="key").to_numpy().tolist() == [
        [1, "a.weight", 0.1, 0.2],
        [2, "a.weight", 3.0, 1.0],
        [2, "a before", 4.0, 2.0],
    ]
    assert results.diagnoses["diagnosis"].tolist() == ["not looked at"]
    assert results.rows["norm_before_median"].tolist() == [2.0]
    assert len(results.table("gradients")) == 1


def test_a_published_set_is_loaded_and_narrowed_as_only_does() -> None:
    place = registry.ROOT / "results" / "published" / "quick"
    results = farreach.load(place, only={"cell": ["lstm", "gru"], "seed": 0, "clip": "norm"})
    assert set(results.rows["cell"]) == {"lstm", "gru"}
    assert set(results.rows["seed"]) == {0}
    same = farreach.load(place, only=["cell=lstm", "cell=gru", "seed=0", "clip=norm"])
    assert same.rows["key"].tolist() == results.rows["key"].tolist()
    assert set(results.curves["key"]) == set(results.rows["key"])
    assert len(results.table("cases")) == len(results.rows)


def test_what_is_wrong_is_a_value_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    place = registry.ROOT / "results" / "published" / "quick"
    calls = {
        "no such folder": lambda: farreach.load(tmp_path / "nowhere"),
        "no results in": lambda: farreach.load(tmp_path / "empty"),
        "has no case with cell=elman": lambda: farreach.load(place, only={"cell": "elman"}),
        "unknown key 'colour'": lambda: farreach.load(place, only={"colour": "red"}),
        "unknown suite 'nothing'": lambda: farreach.run("nothing"),
        "--plugins takes a folder": lambda: farreach.run("quick", plugins=[tmp_path / "nowhere"]),
        "unknown table 'nothing'": lambda: farreach.load(place).table("nothing"),
    }
    for text, ask in calls.items():
        with pytest.raises(ValueError, match=r"\w") as wrong:
            ask()
        assert text in str(wrong.value), wrong.value
        assert "\n" not in str(wrong.value)
