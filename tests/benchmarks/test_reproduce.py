"""A recorded case, run again, gives the same bits; where it does not, the first difference is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.cluster import worker
from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import sweep
from farreach.benchmarks.studies import rerun
from farreach.results.analysis import outcomes
from farreach.results.analysis.outcomes import BEYOND, HELD, UNKNOWN
from farreach.results.publishing import packing
from farreach.results.report import reproduction
from farreach.results.report.reproduction import DIFFERS, FAILED, IDENTICAL, Reproduction
from farreach.results.storage.result_set import Store
from farreach.results.storage.sets import list_sets, open_set
from farreach.tasks import data
from tests.support import synthetic
from tests.support.commands import call_command, read_refusal, run_command
from tests.support.sweeps import Listener

SUITE = """
description = "two short cases of the reference"
[[block]]
task = "adding"
parameters = { T = 5 }
framework = "reference"
cell = ["rnn", "gru"]
hidden = 4
steps = 200
dtype = "float64"
clip = { kind = "norm", threshold = 0.1 }
"""


def run_into(folder: Path, cases: list[Case]) -> Store:
    store = Store(folder)
    store.create()
    facts = {"suite": "short", "command": "a test", "jobs": 1}
    sweep.Sweep(sweep.plan_run(cases, store), store, listener=Listener(), facts=facts).run()
    return store


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "short.toml").write_text(SUITE)
    return run_into(folder / "set", suite.load_suite(str(folder / "short.toml")).list_cases()).folder


def again(recorded: Path, changed: Path) -> list[Reproduction]:
    """Hold the recorded set against a changed copy of it, as if that had been run again."""
    return rerun.compare_rows(rerun.find_rows(str(recorded), []), Store(changed), [])


def edited(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path, index=False)


def test_a_set_run_again_is_identical_in_every_bit(recorded: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = run_command("reproduce", str(recorded), "--page", str(page))
    assert done.returncode == 0, done.stderr
    assert (
        "2 of 2 cases gave the same losses, gradient norms, evaluations and final weights in every bit." in done.stdout
    )
    assert "2 of 2 cases" in page.read_text()


def test_a_difference_of_one_bit_is_found_at_its_step_with_the_facts_that_differ(
    recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded, tmp_path / "set")
    key = min(Store(recorded).list_finished())
    path = tmp_path / "set" / "curves" / f"{key}.parquet"
    curves = pd.read_parquet(path)
    curves.loc[136, "norm_before"] = np.nextafter(curves.loc[136, "norm_before"], np.inf)
    edited(path, curves)
    row = tmp_path / "set" / "rows" / f"{key}.json"
    row.write_text(json.dumps(json.loads(row.read_text()) | {"numpy": "9.9.9"}))
    found = {one.key: one for one in again(recorded, tmp_path / "set")}
    one = found.pop(key)
    assert (one.verdict, one.step) == (DIFFERS, 137)
    assert "norm before" in one.found
    assert one.by is not None
    assert 0 < one.by < 1e-15
    assert one.environment == (("numpy", np.__version__, "9.9.9"),)
    assert f"Numpy was {np.__version__}, is 9.9.9" in one.sentence()
    assert [other.verdict for other in found.values()] == [IDENTICAL]


def test_a_variable_that_can_move_a_bit_is_a_fact_that_differs(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "set")
    for row in (tmp_path / "set" / "rows").glob("*.json"):
        changed = {"weights_sha256": "f" * 64, "variables": '{"MKL_CBWR": "AVX2"}'}
        row.write_text(json.dumps(json.loads(row.read_text()) | changed))
    for one in again(recorded, tmp_path / "set"):
        assert [name for name, *_ in one.environment] == ["variables"]
        assert "MKL_CBWR" in one.sentence()


def test_weights_evaluations_and_lengths_count_too(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "set")
    first, second = sorted(Store(recorded).list_finished())
    row = tmp_path / "set" / "rows" / f"{first}.json"
    row.write_text(json.dumps(json.loads(row.read_text()) | {"weights_sha256": "f" * 64}))
    path = tmp_path / "set" / "evaluations" / f"{second}.parquet"
    evaluations = pd.read_parquet(path)
    evaluations.loc[1, "loss"] *= 1.5
    edited(path, evaluations)
    found = {one.key: one for one in again(recorded, tmp_path / "set")}
    assert "final weights alone" in found[first].found
    assert "No fact differs" in found[first].sentence()
    assert found[second].step == 200
    assert found[second].by == pytest.approx(0.5)
    path = tmp_path / "set" / "curves" / f"{second}.parquet"
    edited(path, pd.read_parquet(path).head(150))
    found = {one.key: one for one in again(recorded, tmp_path / "set")}
    assert (found[second].step, found[second].verdict) == (151, DIFFERS)


def test_of_a_row_that_differs_number_and_conclusion_are_judged_too(tmp_path: Path) -> None:
    drawn = [synthetic.record(seed=0), synthetic.record(seed=0, replicate=1, loss=0.01), synthetic.record(cell="gru")]
    moved = {"weights_sha256": "f" * 64, "processor": "Another Processor"}
    runs = [
        (0.008, {}, (HELD, [])),
        (0.012, {}, (BEYOND, [])),
        (0.012, {"solved": False}, (BEYOND, ["solved", "diagnosis"])),
    ]
    store = synthetic.write(tmp_path / "then", drawn)
    spreads = outcomes.measure_spreads(store.rows())
    spread = spreads["adding", '{"T": 50}', "lstm", "matched"]
    assert (spread.replicates, spread.most) == (1, pytest.approx(0.03))
    assert len(spreads) == 1
    for loss, more, expected in runs:
        outcome = outcomes.compare_outcomes(
            drawn[0].to_row(), synthetic.record(loss=loss, **moved, **more).to_row(), spread
        )
        assert (outcome.number, [name for name, *_ in outcome.changed]) == expected
    torn = outcomes.compare_outcomes(drawn[2].to_row(), synthetic.diverged(cell="gru").to_row(), None)
    assert torn.number == UNKNOWN
    assert [name for name, *_ in torn.changed] == ["status", "solved", "diagnosis"]


def test_the_three_verdicts_are_said(tmp_path: Path) -> None:
    then = synthetic.write(tmp_path / "then", [synthetic.record()])
    now = synthetic.write(tmp_path / "now", [synthetic.record(loss=0.05, solved=False, processor="Another Processor")])
    rows = tuple(store.rows().to_dict("records")[0] for store in (then, now))
    found = reproduction.compare_runs(then, now, rows, "a case", spread=outcomes.Spread(0.1, 4))
    assert found.verdict == DIFFERS
    said = " ".join(reproduction.write_findings([found]))
    assert "0 of 1 cases gave the same losses" in said
    assert "The skill held in 0 of 1 cases that ran" in said
    assert "The conclusion (diverged or not, solved or not, diagnosis) held in 0 of 1." in said
    assert "Recorded on Some Processor @ 2.00GHz, run again on Another Processor." in said
    assert "Its skill was 0.970, is 0.700: beyond 0.100, the most by which 4 permuted replicates" in said
    assert "Its conclusion changed: solved was yes, is no" in said


def test_a_case_that_does_not_run_has_failed_and_the_others_count(recorded: Path, tmp_path: Path) -> None:
    found = rerun.find_rows(str(recorded), ["cell=rnn"])
    (case,) = found.rows
    empty = Store(tmp_path / "empty")
    empty.create()
    (one,) = rerun.compare_rows(found, empty, [sweep.Failure(case, "out of memory")])
    assert (one.verdict, one.found) == (FAILED, "out of memory")
    assert reproduction.write_findings([one])[0].startswith("0 of 1 cases")


def test_a_row_gives_its_case_back(recorded: Path) -> None:
    found = rerun.find_rows(str(recorded), [])
    assert {case.key() for case in found.rows} == Store(recorded).list_finished()


def test_a_key_is_enough_where_the_set_lies_in_its_place(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = min(Store(recorded).list_finished())
    assert len(rerun.find_rows(str(recorded / key), []).rows) == 1
    monkeypatch.setattr(registry, "HERE", recorded.parent.parent)
    monkeypatch.setattr(rerun, "SETS", (recorded.parent.name,))
    (row,) = rerun.find_rows(key, []).rows.values()
    assert row["key"] == key


def test_every_published_row_of_a_suite_is_a_case_here() -> None:
    for folder in list_sets(registry.ROOT / "results" / "published"):
        if open_set(folder).list_finished():
            assert rerun.find_rows(str(folder), []).rows


def test_a_row_of_a_packed_set_is_found_by_its_folder_and_by_its_key(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing.pack_set(recorded, tmp_path / "sets" / "packed")
    key = min(Store(recorded).list_finished())
    monkeypatch.setattr(registry, "HERE", tmp_path)
    monkeypatch.setattr(rerun, "SETS", ("sets",))
    for target in (key, str(tmp_path / "sets" / "packed" / key)):
        (row,) = rerun.find_rows(target, []).rows.values()
        assert row["key"] == key
    found = rerun.find_rows(str(tmp_path / "sets" / "packed"), [])
    assert found.rows == rerun.find_rows(str(recorded), []).rows
    assert {one.verdict for one in rerun.compare_rows(found, Store(recorded), [])} == {"identical"}


def test_of_thinned_curves_the_digest_is_compared(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LONGEST", 10)
    changed = Path(shutil.copytree(recorded, tmp_path / "changed"))
    packing.pack_set(recorded, tmp_path / "thin", thin=True)
    found = rerun.find_rows(str(tmp_path / "thin"), [])
    assert {one.verdict for one in rerun.compare_rows(found, Store(recorded), [])} == {"identical"}
    key = min(Store(changed).list_finished())
    path = changed / "curves" / f"{key}.parquet"
    curves = pd.read_parquet(path)
    curves.loc[3, "loss"] = np.nextafter(curves.loc[3, "loss"], 0)
    curves.to_parquet(path)
    one = next(one for one in rerun.compare_rows(found, Store(changed), []) if one.key == key)
    assert one.verdict == "differs"
    assert "the digest and no steps" in one.found


@pytest.mark.parametrize("target", ["nowhere", "0123456789abcdef", "..", "/", "a b", ""])
def test_what_is_no_set_and_no_key_is_one_line(target: str) -> None:
    with pytest.raises(registry.UsageError, match="is neither a result set nor the key"):
        rerun.find_rows(target, [])


def test_one_bad_byte_costs_its_case_alone(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "set")
    first, second = sorted(Store(recorded).list_finished())
    path = tmp_path / "set" / "curves" / f"{first}.parquet"
    text = bytearray(path.read_bytes())
    text[len(text) // 3] ^= 0xFF
    path.write_bytes(text)
    found = rerun.compare_rows(rerun.find_rows(str(tmp_path / "set"), []), Store(recorded), [])
    told = {one.key: (one.verdict, one.found) for one in found}
    assert told[second][0] == IDENTICAL
    assert told[first][0] == FAILED
    assert "is damaged" in told[first][1]


def test_rows_that_were_made_before_a_stop_are_kept_and_said(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rerun, "compare_rows", stop)
        status, out, _ = call_command("reproduce", str(recorded), "--jobs", "1")
    assert status != 0
    assert "the new rows are kept: the same command with --out" in out
    (kept,) = tmp_path.glob("farreach-*")
    assert len(Store(kept).rows()) == 2
    status, out, _ = call_command("reproduce", str(recorded), "--jobs", "1", "--out", str(kept))
    assert status == 0
    assert "2 already done" in out
    assert call_command("reproduce", str(recorded), "--jobs", "1", "--only", "cell=gru")[0] == 0
    assert [*tmp_path.glob("farreach-*")] == [kept]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("source", ["hub:attacker/x", "hub:csv", "hub:..", "hub:../x", "/etc/passwd"])
def test_a_strangers_row_reads_nothing_from_the_network_or_the_disk(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    shutil.copytree(recorded, tmp_path / "set")
    for path in (tmp_path / "set" / "rows").iterdir():
        row = json.loads(path.read_text()) | {"task": "speech", "parameters": json.dumps({"source": source})}
        path.unlink()
        row["key"] = synthetic.make_key(row)
        path.with_stem(row["key"]).write_text(json.dumps(row))

    def load(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("datasets.load_dataset", load)
    said = read_refusal("reproduce", str(tmp_path / "set"), "--jobs", "1")
    assert "--allow-hub" in said or "must be 'shipped' or 'hub:OWNER/NAME" in said
    assert call_command("report", str(tmp_path / "set"))[0] == 0


def test_a_worker_of_a_cluster_reads_nothing_from_the_network_unless_its_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (case, *_) = suite.load_suite("quick").list_cases(["reference"])
    case = dataclasses.replace(case, task="speech", parameters=(("source", "hub:a/b"),))
    request = worker.make_request(case)
    monkeypatch.delenv(data.ALLOWED, raising=False)
    assert "--allow-hub" in worker.find_refusal(**request)
    monkeypatch.setenv(data.ALLOWED, "1")
    assert worker.find_refusal(**request) == ""
