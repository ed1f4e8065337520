"""How certificates come to be: the command's exit status, the file it writes, what is done again and what is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from farreach.benchmarks import __main__ as command_line
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import environment
from farreach.benchmarks.studies import certificate, certification
from farreach.benchmarks.studies.messages import Differences
from farreach.results.analysis.certificates import BOUNDS, is_within_bounds
from farreach.results.storage.certificates import CheckResult

INSTALLED = registry.list_installed()


@pytest.mark.parametrize(("bound", "status"), [(1e-10, 0), (1e-30, 1)])
def test_certify_exits_1_beyond_the_bound(
    bound: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(BOUNDS, "float64", dict.fromkeys(BOUNDS["float64"], bound))
    monkeypatch.setattr(certification, "STEPS", 5)
    only = [f"framework={INSTALLED[-1]}", "cell=rnn", "activation=tanh", "inputs=tokens", "optimizer=rmsprop"]
    words = [word for text in only for word in ("--only", text)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "certify", *words, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == status
    assert f"{1 - status} of 1 checks within" in " ".join(capsys.readouterr().out.split())
    (written,) = tmp_path.glob("*.json")
    certificate = json.loads(written.read_text())
    assert certificate["digest"] == written.stem
    assert [is_within_bounds(check) for check in certificate["checks"]] == [status == 0]


def test_a_checkout_with_changes_publishes_no_certificate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "read_commit", lambda: "0123456789ab+changes")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "certify", "--only", f"framework={INSTALLED[0]}"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "commit first, or give --out" in line


class FakeWorker:
    """A worker that finds nothing wrong, and counts the checks of each of its processes."""

    facts: dict[str, str] = {"framework_version": "1", "variables": "{}"}  # noqa: RUF012
    processes: list[int]
    most = 1_000

    def __init__(self, *_: object) -> None:
        self.there = False

    def start(self) -> None:
        if not self.there:
            self.processes.append(0)
        self.there = True

    def ask(self, *_: object) -> Differences:
        if sum(self.processes) == self.most:
            raise KeyboardInterrupt
        self.start()
        self.processes[-1] += 1
        return Differences(values={"loss": 0.0}, kernel="a kernel", digest="0" * 16)

    def stop(self) -> None:
        self.there = False


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    """Have checks asked of a fake worker, two of each process, on a commit without changes."""
    monkeypatch.setattr(certificate, "Live", FakeWorker)
    monkeypatch.setattr(FakeWorker, "processes", [], raising=False)
    monkeypatch.setattr(certificate, "FRESH", 2)
    monkeypatch.setattr(environment, "read_commit", lambda: "0123456789ab")
    return FakeWorker


def ask_checks(folder: Path) -> list[CheckResult]:
    """Return what five checks found."""
    return certificate.make_certificates("pytorch", certification.list_checks("pytorch")[:5], folder)[1]


def test_a_process_is_renewed_before_the_programs_of_its_checks_fill_it(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    assert len(ask_checks(tmp_path)) == 5
    assert worker.processes == [2, 2, 1]
    assert len(certification.list_checks("tensorflow")) > 180


def test_who_was_stopped_goes_on_where_it_was(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "most", 3)
    with pytest.raises(KeyboardInterrupt):
        ask_checks(tmp_path)
    assert sum(worker.processes) == 3
    with (tmp_path / "pytorch.jsonl").open("a") as file:
        file.write('{"stamp": {"comm')  # it was killed as it wrote the next one
    monkeypatch.setattr(worker, "most", 1_000)
    again = ask_checks(tmp_path)
    assert sum(worker.processes) == 5
    assert again == ask_checks(tmp_path)
    assert sum(worker.processes) == 5
    assert {result["kernel"] for result in again} == {"a kernel"}


@pytest.mark.parametrize("commit", ["ba9876543210", "0123456789ab+changes"])
def test_on_another_commit_or_with_changes_every_check_is_run(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commit: str
) -> None:
    ask_checks(tmp_path)
    monkeypatch.setattr(environment, "read_commit", lambda: commit)
    ask_checks(tmp_path)
    assert sum(worker.processes) == 10


def test_a_family_of_architectures_that_ran_whole_has_its_certificates(
    worker: type[FakeWorker], tmp_path: Path
) -> None:
    only = ["framework=pytorch", "cell=transformer"]
    (checks,) = certificate.choose_checks(only).values()
    assert certificate.find_whole("pytorch", checks, only) == checks
    assert certificate.find_whole("pytorch", checks[1:], only) == []
    some = ["framework=pytorch", "cell=rnn", "cell=lstm", "cell=transformer"]  # and no gru, which is of their family
    (chosen,) = certificate.choose_checks(some).values()
    assert {*certificate.find_whole("pytorch", chosen, some)} == {*checks}
    (one,), _ = certificate.make_certificates("pytorch", checks[:3], tmp_path)
    assert certificate.is_made_of(one, checks)
    assert not certificate.is_made_of(one, checks[1:])
    assert worker.processes
