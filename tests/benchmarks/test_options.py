"""No option is ignored without a word: what contradicts or has no use is one line and exit status 2."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from farreach.benchmarks.__main__ import app
from farreach.benchmarks.commands import COMMANDS, format_help
from farreach.benchmarks.commands.shared.refusals import check_address
from farreach.benchmarks.matrix import registry
from tests.support import synthetic
from tests.support.commands import call_command, read_refusal

ADDRESS = "--dask takes the address of a scheduler, tcp://HOST:PORT, not ''"
LIVE = "without --live, since result sets are compared whole"
QUICK = "results/published/quick"

REFUSED: list[tuple[list[str], str]] = [
    (["list", ""], "unknown list ''; allowed: tasks, frameworks, architectures, suites"),
    (["list", "tasks", "suites"], "Got unexpected extra argument(s) (suites)"),
    (["run", "quick", "--dask", ""], ADDRESS),
    (["run", "quick", "--patience", "5"], "--patience requires --dask"),
    (["run", "quick", "--dask", "tcp://127.0.0.1:1", "--jobs", "2"], "--jobs is about this machine"),
    (["run", "quick", "--shard", "4/3"], "--shard takes K/N with K from 1 to N, not '4/3'"),
    (["run", "quick", "--shard", "999/1000"], "--shard 999/1000 is empty: there are "),
    (["run", "quick", "--only", "cell"], "--only takes KEY=VALUE, not 'cell'"),
    (["run", "quick", "--only", "clip=none", "--only", "threshold=1"], "contradict each other"),
    (["run", "quick", "--jobs", "0"], "--jobs"),
    (["run", "quick", "--allow-hub", "yes"], "Got unexpected extra argument(s) (yes)"),
    (["run", "quick", "--portable", "--device", "cuda"], "--portable has no effect with --device cuda"),
    (["run", "quick", "--portable", "--dask", "tcp://127.0.0.1:1"], "--portable has no effect with --dask"),
    (["run", "quick", "--threads", "many"], "--threads"),
    (["run", "quick", "--dry-run", "--stale"], "--stale has no effect with --dry-run"),
    (["run", "quick", "--dry-run", "--dask", "tcp://127.0.0.1:1"], "--dask has no effect with --dry-run"),
    (["budget", "--file", "/nowhere.toml"], "cannot read budget /nowhere.toml: No such file or directory"),
    (["report", "/nowhere"], "no results in /nowhere"),
    (["report", QUICK, "--only", "cell=rnn"], "No such option: --only"),
    (["show", "/nowhere"], "no such folder: /nowhere"),
    (["show", QUICK, "--table", "x"], "unknown table 'x'; allowed: "),
    (["show", QUICK, "--top", "0"], "--top"),
    (["tail", "/nowhere"], "no results in /nowhere"),
    (["tail", QUICK], "no run of your own in"),
    (["tail", QUICK, "--steps", "0"], "--steps"),
    (["advise"], "advise needs --task TASK, or a RUN"),
    (["advise", "/nowhere"], "no results in /nowhere"),
    (["advise", QUICK, "--task", "adding"], "no effect with a RUN, whose norms are there"),
    (["show", QUICK, "--as", "html"], "'html' is not one of 'text', 'csv', 'markdown', 'latex'"),
    (["show", QUICK, "--only", "colour=red"], "unknown key 'colour'; allowed: "),
    (["reproduce", "nowhere"], "nowhere is neither a result set nor the key of a row"),
    (["reproduce", QUICK, "--only", "cell=elman"], "has no case with cell=elman; it has: gru, lstm, rnn"),
    (["reproduce", QUICK, "--out", QUICK], "the new ones need a folder of their own"),
    (["reproduce", QUICK, "--page", "results"], "cannot write to results: it is a folder"),
    (["compare", "a", "b", "--only", "cell=rnn"], f"--only has no effect {LIVE}"),
    (["compare", "a", "b", "--suite", "speed"], f"--suite has no effect {LIVE}"),
    (["compare", "a", "b", "--limit", "20", "--launches", "8"], f"--launches and --limit have no effect {LIVE}"),
    (["compare", "a", "b", "--live", "--fail-on", "changed"], "--live compares times alone"),
    (["compare", "a", "b", "--fail-on", "better"], "unknown --fail-on 'better'; allowed: worse, changed"),
    (["compare", "a"], "Missing argument"),
    (["history"], "Missing argument"),
    (["history", "/nowhere"], "no results in /nowhere"),
    (["ledger", "--only", "id=nothing"], "the ledger has no case with id=nothing; it has: "),
    (["ledger", "--only", "seed=1"], "unknown key 'seed'; allowed: cell, framework, id, read, task, year"),
    (["ledger", "--list", "--check"], "--list and --check contradict each other"),
    (["ledger", "--list", "--jobs", "2"], "--jobs has no effect with --list"),
    (["ledger", "--check", "--budget-minutes", "5"], "--budget-minutes has no effect with --check"),
    (["ledger", "--check", "--only", "year=2018"], "--only has no effect with --check"),
    (["ledger", "--check", "--out", "/nowhere"], "no results in /nowhere"),
    (["ledger", "--budget-minutes", "-1"], "--budget-minutes"),
    (["ledger", "--budget-minutes", "nan"], "--budget-minutes"),
    (["ledger", "--check", "--out", QUICK], "has no claims.json: it was not run for a ledger"),
    (["speed", "--dask", ""], ADDRESS),
    (["speed", "--dask", " "], ADDRESS.replace("''", "' '")),
    (["speed", "--patience", "5"], "--patience requires --dask"),
    (["speed", "--aa-test", "3", "--dask", ""], ADDRESS),
    (["speed", "--aa-test", "3", "--dask", "tcp://127.0.0.1:1"], "--aa-test is about one machine"),
    (["speed", "--aa-test", "3", "--handwritten"], "--handwritten has no effect with --aa-test"),
    (["speed", "scaling", "--aa-test", "3", "--energy"], "SUITE and --energy have no effect with --aa-test"),
    (["speed", "--limit", "0"], "--limit must be a positive finite number, not 0"),
    (["speed", "--width", "nan"], "--width must be a positive finite number, not nan"),
    (["advise", "--task", "adding", "--cell", "gru", "--activation", "relu"], "activation relu is for cell rnn"),
    (["advise", "--task", "copy", "--parameter", "symbols=4"], "symbols is 4; it must be a whole number from 5 to 100"),
    (["advise", "--task", "order", "--parameter", "windows=10-30,20-40"], "which overlap at T = 50"),
    (["advise", "--task", "adding", "--parameter", "marks=thirds"], "it must be one of: halves, anywhere, hochreiter"),
    (["advise", "--task", "adding", "--optimizer", "adamw"], "optimizer adamw needs a weight_decay"),
    (["advise", "--task", "adding", "--weight-decay", "0.1"], "weight_decay is for optimizer adamw, not for adam"),
    (["advise", "--task", "adding", "--parameter", "T=9", "--parameter", "T=8"], "--parameter T is given twice"),
    (["advise", "--task", "adding", "--thresholds", "1;2"], "--thresholds takes positive finite numbers"),
    (["calibrate", "--framework", "caffe"], "unknown framework 'caffe'; allowed: "),
    (["calibrate", "--first-seed", "-1"], "--first-seed"),
    (["certify", "--only", "colour=red"], "unknown key 'colour'; allowed: framework, "),
    (["certify", "--only", "cell=rnn", "--only", "regulariser=omega", "--only", "optimizer=adam"], "no check has"),
    (["semantics", "--out", "results"], "cannot write to results: it is a folder"),
    (["semantics", "table.md"], "Got unexpected extra argument(s) (table.md)"),
    (["coverage", "--out", "results"], "cannot write to results: it is a folder"),
    (["live-check", "--framework", "reference"], "unknown framework 'reference'; allowed: "),
    (["live-check", "--pairs", "0"], "--pairs"),
    (["live-check", "--limit", "-1"], "--limit must be a positive finite number, not -1"),
    (["cluster-cost", "--out", "results"], "cannot write to results: it is a folder"),
    (["own-cost", "--repeats", "0"], "--repeats"),
    (["own-cost", "--out", "results"], "cannot write to results: it is a folder"),
    (["pack", "/nowhere"], "no results in /nowhere"),
    (["pack", QUICK], f"{QUICK} is packed already"),
    (["unpack", QUICK], "Missing option '--out'"),
    (["unpack", QUICK, "--out", "results"], "results is not empty: unpack into a new folder"),
    (["publish", "--check", "--pictures"], "--check writes nothing, so it takes no --pictures"),
]
"""Bad calls of every command, and what their one line says."""

FOLDERS = {"run", "speed", "compare", "history", "advise", "calibrate", "certify"}
"""Commands whose --out is a folder."""


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[" ".join(line) for line, _ in REFUSED])
def test_what_is_impossible_or_has_no_effect_is_one_line(line: list[str], said: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")] if line[0] in FOLDERS else []
    assert said in read_refusal(*line, *out)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_command_is_among_the_bad_calls() -> None:
    assert {line[0] for line, _ in REFUSED} == {*COMMANDS}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_whole_sentences_with_an_example(name: str) -> None:
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), name) if name else group  # type: ignore[attr-defined]
    assert command.help.count("\n\nExample: python -m benchmarks ") == 1
    assert command.help.partition("\n")[0].endswith(".")
    for parameter in command.params:
        if parameter.name != "help":
            assert re.fullmatch(r"[A-Z].*[.\]]", parameter.help, re.DOTALL), (name, parameter.name)
            assert len(parameter.help.split()) >= 4, (name, parameter.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_help_text_is_a_command_line(name: str) -> None:
    example = format_help(COMMANDS[name]).rpartition("python -m benchmarks ")[2].strip()
    command, *words = shlex.split(example)
    assert command == name
    group = typer.main.get_command(app)
    context = group.get_command(typer.Context(group), name).make_context(name, words)  # type: ignore[attr-defined]
    assert context.params


def test_the_bare_command_prints_the_help() -> None:
    status, out, errors = call_command()
    assert (status, errors) == (0, "")
    assert "Usage:" in out
    assert all(name in out for name in COMMANDS)


def test_the_version_stands_with_the_commit() -> None:
    status, out, errors = call_command("--version")
    assert (status, errors) == (0, "")
    assert re.fullmatch(r"farreach \d+\.\d+\.\d+( \(commit [0-9a-f]{12}(\+changes)?\))?\n", out)


@pytest.mark.parametrize(
    "address",
    ["", "nonsense", "127.0.0.1:8786", "tcp://127.0.0.1", "tcp://:1", "tcp://h:x", "http://h:1", "tcp://h:1/a"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(
        registry.UsageError, match=re.escape(f"takes the address of a scheduler, tcp://HOST:PORT, not {address!r}")
    ):
        check_address(address)


def test_a_table_without_a_name_is_none(tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    assert "unknown table ''" in read_refusal("show", str(tmp_path), "--table", "")


def test_rows_are_not_compared_with_themselves(tmp_path: Path) -> None:
    synthetic.write(tmp_path, [synthetic.record()])
    line = ["reproduce", str(tmp_path), "--out", str(tmp_path / "x" / "..")]
    assert "the new ones need a folder of their own" in read_refusal(*line)


def test_bad_input_is_one_line_with_every_typer_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until 0.28 its errors are click's own, and typer names no class of them."""
    monkeypatch.delattr(typer, "TyperException", raising=False)
    assert "--threads" in read_refusal("run", "quick", "--threads", "many")
    assert "nonsense" in read_refusal("--nonsense")
    assert "unknown suite" in read_refusal("run", "nowhere")
    assert "typer>=0.19\n" in (registry.ROOT / "requirements.txt").read_text()  # the first that knows Literal
