"""Many machines: whatever happens to the workers, every case arrives exactly once, or fails with a line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

from farreach.benchmarks.cluster import connect, timings, worker, workplace  # noqa: E402
from farreach.benchmarks.cluster.pool import Pool  # noqa: E402
from farreach.benchmarks.cluster.sweep import ClusterSweep  # noqa: E402
from farreach.benchmarks.cluster.workers import Work, Workers, count_slots  # noqa: E402
from farreach.benchmarks.matrix import plugins, registry, suite  # noqa: E402
from farreach.benchmarks.matrix.case import Case  # noqa: E402
from farreach.benchmarks.running import sweep, training  # noqa: E402
from farreach.benchmarks.running.messages import Progress  # noqa: E402
from farreach.benchmarks.speed import command, pairs  # noqa: E402
from farreach.benchmarks.speed.implementations import group_cases  # noqa: E402
from farreach.results.report import timing, timing_contents  # noqa: E402
from farreach.results.storage.result_set import Store  # noqa: E402
from farreach.results.storage.sets import open_set  # noqa: E402
from tests.support import errands  # noqa: E402
from tests.support.commands import read_refusal  # noqa: E402

DEADLINE = 120.0

SHORT = """
description = "short"
[[block]]
task = "adding"
parameters = { T = 5 }
framework = "reference"
cell = ["rnn", "gru"]
hidden = 4
steps = 400
dtype = "float64"
seed = [0, 1, 2, 3, 4, 5]
"""

LONG = SHORT.replace("[0, 1, 2, 3, 4, 5]", "[0, 1]").replace('"rnn", "gru"', '"rnn"') + (
    '[[block]]\ntask = "adding"\nparameters = { T = 5 }\n'
    'framework = "reference"\ncell = "lstm"\nhidden = 4\nsteps = 100_000\n'
)

FATAL = """
import os, signal
from farreach.benchmarks.running import worker_client

def killing(self, request, answer, progress=lambda _: None, ask=worker_client.Live.ask):
    if request.case.seed == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return ask(self, request, answer, progress)

worker_client.Live.ask = killing
"""

PEAK = """
from farreach.benchmarks.speed import machine

facts = {"processor": "p", "cores": 1, "threads": 1, "blas": "b", "copy_gb_per_s": 1.0, "gflops": {"float64": 7.0}}
machine.measure_machine = lambda threads, device=None: facts | {"device": device}
"""

OTHER = """
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import digest

there = {name: registry.find_version(name) for name in ("tensorflow", "keras", "jax", "autograd")}
registry.find_version = lambda name: (there | {"numpy": "1.0"}).get(name)
digest.hash_code = lambda *kind, grouped: "other"
"""


class Cluster:
    """A scheduler and workers, each a process of its own on this machine."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        found = folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--scheduler-file", str(found), environ=environ, cwd=folder)
        wait_until(lambda: found.exists() and found.read_text().endswith("}"))
        self.address = json.loads(found.read_text())["address"]

    def worker(
        self, name: str, *arguments: str, preload: str = "", cwd: Path = registry.ROOT
    ) -> subprocess.Popen[bytes]:
        """Start a worker with one thread, unless told otherwise."""
        if preload:
            (self.folder / f"{name}.py").write_text(preload)
            arguments = ("--preload", str(self.folder / f"{name}.py"), *arguments)
        if "--nthreads" not in arguments:
            arguments = ("--nthreads", "1", *arguments)
        options = ("--name", name, "--no-nanny", "--death-timeout", "60", *arguments)
        return self._start("worker", self.address, *options, cwd=cwd)

    def _start(
        self, *arguments: str, environ: dict[str, str] | None = None, cwd: Path = registry.ROOT
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"],
                cwd=cwd,
                env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(self.folder)} | (environ or {}),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def restart_scheduler(self) -> None:
        """Kill the scheduler and start one at its address, which knows nothing; the workers of the first end."""
        self.processes[0].kill()
        self.processes[0].wait()
        self._start("scheduler", "--port", self.address.rpartition(":")[2], cwd=self.folder)

    def stop(self) -> None:
        """End all of it, paused workers too."""
        for process in self.processes:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler that gives a task up with the first worker that it kills, and no workers yet."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    yield made
    made.stop()


@pytest.fixture
def workers(cluster: Cluster) -> Iterator[Callable[..., list[subprocess.Popen[bytes]]]]:
    """Start workers for one test and wait for them; when it ends they are gone from the scheduler too."""
    started: list[subprocess.Popen[bytes]] = []
    admin = distributed.Client(cluster.address, set_as_default=False)

    def start(*each: dict[str, Any]) -> list[subprocess.Popen[bytes]]:
        made = [cluster.worker(f"w{len(cluster.processes)}", *one.pop("arguments", ()), **one) for one in each]
        started.extend(made)
        wait_until(lambda: len(admin.scheduler_info()["workers"]) == len(started))
        return made

    yield start
    for process in started:
        process.kill()
        process.wait()
    wait_until(lambda: not admin.scheduler_info()["workers"])
    admin.close()


@pytest.fixture
def pool(cluster: Cluster) -> Iterator[Pool]:
    """The way to the workers; it gives them up after two seconds."""
    notices: list[str] = []
    client = distributed.Client(cluster.address, set_as_default=False)
    with Pool(client, Workers(client, cluster.address, 2), notices.append) as made:
        made.notices = notices  # type: ignore[attr-defined]
        yield made


def make_case(**fields: Any) -> Case:
    known = {"task": "adding", "parameters": (("T", 5),), "framework": "reference", "cell": "rnn", "path": "numpy"}
    return Case(**(known | {"hidden": 4, "steps": 100, "dtype": "float64"} | fields))


def run_here(
    cases: list[Case],
    store: Store,
    pool: Pool,
    act: Callable[[int], None] = lambda _: None,
    *,
    chosen: sweep.Plan | None = None,
) -> tuple[list[str], sweep.RunSummary]:
    """Run cases in this process; return the labels of those that ended, as they did, and how it went.

    `act` is told how many have ended.
    """
    heard: list[str] = []

    class Listener:
        def hear_progress(self, case: Case, heard: Progress) -> None:
            assert 0 < heard.steps <= case.steps

        def hear_end(self, case: Case, said: str, ending: str = "") -> None:
            assert ending in {"", *sweep.ENDINGS}
            assert said
            heard.append(case.label())
            act(len(heard))

    store.create()
    facts = {"suite": "short", "command": "a test"}
    chosen = chosen or sweep.plan_run(cases, store)
    return heard, ClusterSweep(chosen, store, pool, listener=Listener(), facts=facts).run()


def start(suite_text: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    path = folder / "cases.toml"
    path.write_text(suite_text)
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks", "run", str(path), "--out", str(folder / "out"), *arguments],
        cwd=registry.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_finished(folder: Path) -> int:
    return len(Store(folder / "out").list_finished())


@pytest.mark.slow
def test_one_worker_killed_and_one_paused_and_every_case_arrives_exactly_once(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    victim, sleeper, _ = workers({}, {}, {})
    pool.workers.watch.ask_scheduler()
    (tmp_path / "short.toml").write_text(SHORT)
    cases = suite.load_suite(str(tmp_path / "short.toml")).list_cases()
    store = Store(tmp_path / "out")

    def strike(count: int) -> None:
        if count == 2:
            victim.kill()
            sleeper.send_signal(signal.SIGSTOP)
        if count == len(cases) - 1:
            sleeper.send_signal(signal.SIGCONT)

    heard, ended = run_here(cases, store, pool, strike)
    assert sorted(heard) == sorted(case.label() for case in cases)
    assert (ended.finished, ended.failed) == (12, [])
    assert any("unresponsive for 2 s: its cases go to other workers" in line for line in pool.notices)  # type: ignore[attr-defined]
    (logged,) = store.runs()
    assert (logged["finished"], logged["failed"], logged["jobs"]) == (12, [], 3)
    rows = store.rows().set_index("key")
    assert set(rows.index) == {case.key() for case in cases}
    assert set(rows["jobs"]) <= {1, 2, 3}
    here = training.train(cases[0], lambda _: None)
    assert rows.loc[cases[0].key(), "weights_sha256"] == here.result.weights_sha256
    assert sweep.plan_run(cases, store).missing == {}
    late = sweep.Plan({case.key(): case for case in cases}, set())  # as of before another run had finished them
    said, ended = run_here(cases, store, pool, chosen=late)
    assert sorted(said) == sorted(heard)
    assert (ended.finished, ended.failed) == (0, [])


@pytest.mark.slow
def test_a_case_that_comes_from_two_workers_is_kept_once(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    first, second = workers({}, {})
    gate = tmp_path / "gate"
    work = {name: Work(errands.hold, str(gate), (make_case(),)) for name in ("one", "other")}
    ended: list[tuple[str, dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: ended.extend(pool.run_work(work, lambda _key, _share: None)))
    thread.start()
    wait_until(lambda: [attempt.begun for attempt in pool.attempts.values()] == [True, True])
    first.send_signal(signal.SIGSTOP)
    wait_until(lambda: pool.count == 3)  # what the paused one had was sent once more
    assert "unresponsive" in pool.notices[0]  # type: ignore[attr-defined]
    first.send_signal(signal.SIGCONT)
    gate.touch()
    thread.join(DEADLINE)
    time.sleep(0.5)
    assert sorted(key for key, _ in ended) == ["one", "other"]
    assert not pool.attempts
    assert second.poll() is None


@pytest.mark.slow
def test_a_case_that_kills_every_worker_fails_and_costs_no_other_case(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    workers(*({"preload": FATAL} for _ in range(4)))
    cases = [make_case(seed=seed) for seed in (0, 13, 1, 2)]
    _, ended = run_here(cases, Store(tmp_path / "out"), pool)
    assert {failure.case.seed: failure.reason for failure in ended.failed} == {13: "3 workers died while they ran it"}
    assert ended.finished == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_early_leaves_nothing_at_work_and_the_same_command_carries_on(
    how: signal.Signals,
    cluster: Cluster,
    workers: Callable[..., list[subprocess.Popen[bytes]]],
    pool: Pool,
    tmp_path: Path,
) -> None:
    (one,) = workers({})
    run = start(LONG, tmp_path, "--dask", cluster.address)
    wait_until(lambda: count_finished(tmp_path) == 2 and psutil.Process(one.pid).children())
    time.sleep(1)
    run.send_signal(how)
    _, err = run.communicate(timeout=DEADLINE)
    if how == signal.SIGINT:
        assert run.returncode == 130
        assert err.strip() == "interrupted: what was finished is kept, the same command carries on"
        assert Store(tmp_path / "out").runs()[-1]["finished"] == 2
    wait_until(lambda: not psutil.Process(one.pid).children(), 20)  # the case that nobody waits for was ended
    (tmp_path / "cases.toml").write_text(LONG.replace("100_000", "100"))
    pool.workers.watch.ask_scheduler()
    _, ended = run_here(suite.load_suite(str(tmp_path / "cases.toml")).list_cases(), Store(tmp_path / "out"), pool)
    assert (ended.done_before, ended.finished, ended.failed) == (2, 1, [])


@pytest.mark.slow
def test_a_worker_with_other_versions_is_not_used_and_named(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    workers({"preload": OTHER})
    for framework, said in [
        ("reference", "it has numpy 1.0, not "),
        ("pytorch", "framework pytorch is not installed: it needs the package torch"),
        ("tensorflow", "it has other code for tensorflow"),
    ]:
        if registry.find_framework_version(framework):
            case = make_case(framework=framework, path=registry.list_paths(framework, "cpu", "rnn")[0])
            pool.workers.watch.ask_scheduler()
            with pytest.raises(registry.UsageError, match="no worker at tcp://.* can run this; tcp://.*: " + said):
                pool.workers.require_workers([Work(worker.run_case, worker.make_request(case), (case,))])
    pool.workers.refused.clear()  # it comes when nobody asks any more
    workers({"arguments": ("--nthreads", "2")})
    pool.workers.watch.ask_scheduler()
    _, ended = run_here([make_case(seed=seed) for seed in range(6)], Store(tmp_path / "out"), pool)
    assert [failure.reason for failure in ended.failed] == []
    assert ended.finished == 6
    assert any("is not used for reference: it has numpy 1.0" in line for line in pool.notices)  # type: ignore[attr-defined]
    assert set(Store(tmp_path / "out").rows()["jobs"]) == {3}


@pytest.mark.slow
def test_a_task_of_a_plugin_is_run_by_the_workers_that_have_it(
    workers: Callable[..., list[subprocess.Popen[bytes]]],
    pool: Pool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = tmp_path / "mine" / "tasks"
    mine.mkdir(parents=True)
    text = "from farreach.tasks import adding\n\n\nclass Task(adding.Task):\n    pass\n"
    (mine / "faraway.py").write_text(f'"""Sums under another name."""\n\n{text}')
    monkeypatch.setitem(sys.modules, "farreach.tasks.faraway", None)  # so that what is imported leaves nothing behind
    del sys.modules["farreach.tasks.faraway"]
    workers({})
    monkeypatch.setenv(plugins.VARIABLE, str(mine.parent))
    cases = [make_case(task="faraway", seed=seed) for seed in range(4)]
    pool.workers.watch.ask_scheduler()
    with pytest.raises(registry.UsageError, match=r"no worker at tcp://.* can run this; tcp://.*faraway"):
        pool.workers.require_workers([Work(worker.run_case, worker.make_request(case), (case,)) for case in cases])
    pool.workers.refused.clear()  # it comes when nobody asks any more
    workers({})  # which inherits the folder
    pool.workers.watch.ask_scheduler()
    said = registry.describe_plugins("faraway", "reference")
    request = worker.make_request(cases[0])
    assert worker.find_refusal(*request.values()) == ""
    request["plugins"] = "mine 0123"  # where the same name stands for other code, nothing is run under it
    assert worker.find_refusal(*request.values()) == f"it has other plug-ins: {said}, not mine 0123"
    _, ended = run_here(cases, Store(tmp_path / "out"), pool)
    assert (ended.finished, ended.failed) == (4, [])
    assert set(Store(tmp_path / "out").rows()["plugins"]) == {said}


@pytest.mark.slow
def test_a_worker_outside_a_checkout_and_a_cluster_without_a_gpu_are_said_in_one_line(
    cluster: Cluster,
    workers: Callable[..., list[subprocess.Popen[bytes]]],
    pool: Pool,
    tmp_path: Path,
) -> None:
    workers({"cwd": tmp_path})
    (tmp_path / "short.toml").write_text(SHORT)
    asked = ("run", str(tmp_path / "short.toml"), "--dask", cluster.address, "--out", str(tmp_path / "out"))
    said = read_refusal(*asked)
    assert "it cannot import Farreach (No module named 'farreach'); start it in a" in said
    if registry.find_framework_version("pytorch"):
        gpu = tmp_path / "gpu.toml"
        gpu.write_text(SHORT.replace("reference", "pytorch"))
        said = read_refusal("run", str(gpu), "--device", "cuda", *asked[2:])
        assert "cases on cuda go to workers that declare a GPU (--resources GPU=1); none at tcp://" in said
    workers({})  # a run that has begun goes on beside it
    pool.workers.watch.ask_scheduler()
    _, ended = run_here([make_case(seed=seed) for seed in range(6)], Store(tmp_path / "out"), pool)
    assert (ended.finished, ended.failed) == (6, [])


@pytest.mark.slow
def test_work_for_a_gpu_goes_to_the_worker_that_declares_one(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    workers({"arguments": ("--resources", "GPU=1")}, {})
    pool.workers.watch.ask_scheduler()
    named = {address: facts["resources"] for address, facts in pool.workers.watch.view.workers.items()}
    case = make_case(framework="pytorch", path="eager", dtype="float32", device="cuda")
    work = {str(at): Work(errands.hold, str(gate), (case,)) for at in range(4)}
    where = {answer["worker"] for _, answer in pool.run_work(work, lambda _key, _share: None)}
    assert where == {address for address, resources in named.items() if resources}


@pytest.mark.slow
def test_groups_of_implementations_are_timed_on_one_worker_of_a_machine(
    workers: Callable[..., list[subprocess.Popen[bytes]]], pool: Pool, tmp_path: Path
) -> None:
    workers({"preload": PEAK, "arguments": ("--nthreads", "2")}, {"preload": PEAK})
    pool.workers.watch.ask_scheduler()
    found = group_cases([make_case(cell=cell) for cell in ("rnn", "gru")])
    jobs = command.list_timing_jobs(found, pairs.TimingPlan(block_seconds=0.01, rounds=30), tmp_path)
    said = io.StringIO()
    measure = functools.partial(timings.run_jobs, pool)
    assert command.run_jobs(jobs, tmp_path, "a test", Console(file=said), measure=measure) == []
    assert len(re.findall(r"^\[\d/2\]", said.getvalue(), re.MULTILINE)) == 2
    written = [json.loads(job.path.read_text()) for job in jobs]
    for one, group in zip(written, found, strict=True):
        assert one["step"] == group.step
        assert one["machine"]["gflops"]["float64"] == 7
        assert one["facts"]["cores"] == os.cpu_count()
        assert 1 <= one["facts"]["cores_granted"] <= len(os.sched_getaffinity(0))
        assert one["facts"]["command"] == "a test"
        assert len(one["contenders"][0]["seconds"]) == 30
    timing.write_page(tmp_path, timing_contents.read_timings(open_set(tmp_path)))
    page = (tmp_path / timing.PAGE).read_text()
    assert "## The machine\n\np, 1 cores" in page
    assert page.count("## The machine") == 1


def test_a_timing_has_the_threads_of_a_worker_to_itself_and_nobody_is_passed_over() -> None:
    places = workplace.Slots()
    order: list[str] = []
    at_work: list[str] = []

    def use(name: str, count: int) -> None:
        with places.take_slots(count, 2):
            at_work.append(name)
            order.append("+".join(sorted(at_work)))
            time.sleep(0.3)
            at_work.remove(name)

    threads = []
    for name, count in [("case", 1), ("timing", 9), ("later", 1), ("last", 1)]:
        threads.append(threading.Thread(target=use, args=(name, count)))
        threads[-1].start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert order[:2] == ["case", "timing"]
    assert order[3] == "last+later"
    with pytest.raises(workplace.UnwantedError), places.take_slots(2, 2), places.take_slots(1, 2, wanted=lambda: False):
        pass
    assert (places.taken, len(places.waiting)) == (0, 0)


def test_as_many_cases_run_at_a_time_as_the_threads_and_the_gpus_of_a_worker_allow() -> None:
    facts = {"nthreads": 8, "resources": {"GPU": 2}}
    cuda = {"framework": "pytorch", "path": "eager", "dtype": "float32", "device": "cuda"}
    assert [count_slots(facts, make_case(threads=threads)) for threads in (1, 3, 16)] == [8, 2, 1]
    assert [count_slots(facts, make_case(replicas=count, batch=32)) for count in (2, 8, 16)] == [4, 1, 0]
    assert count_slots(facts, make_case(replicas=2, batch=32, threads=8)) == 1  # more threads than cores are allowed
    assert count_slots(facts, make_case(**cuda)) == 2
    assert count_slots(facts | {"resources": {}}, make_case(**cuda)) == 0


@pytest.mark.slow  # a scheduler and a worker start twice
def test_a_scheduler_that_is_started_anew_costs_no_work_where_a_worker_comes_back(tmp_path: Path) -> None:
    alone, said = Cluster(tmp_path), list[str]()
    try:
        alone.worker("first")
        client = distributed.Client(alone.address, timeout=10, set_as_default=False)
        client.wait_for_workers(1, timeout=DEADLINE)
        with Pool(client, Workers(client, alone.address, 60), said.append) as pool:
            work = {f"w{at}": Work(errands.hold, "", (make_case(),)) for at in range(3)}
            ended = {}
            for key, answer in pool.run_work(work, lambda _key, _share: None):
                if not ended:
                    alone.restart_scheduler()
                    wait_until(lambda: not pool.workers.watch.view.workers)
                    alone.worker("second")
                ended[key] = answer
        assert ended.keys() == work.keys()
        assert [answer for answer in ended.values() if "failed" in answer] == []
        assert f"python -m dask worker {alone.address} starts one, and the run waits 60 s for it" in "".join(said)
    finally:
        alone.stop()


def test_without_workers_or_scheduler_the_work_ends_with_a_reason(tmp_path: Path) -> None:
    alone = Cluster(tmp_path)
    try:
        client = distributed.Client(alone.address, timeout=2, set_as_default=False)
        with Pool(client, Workers(client, alone.address, 1), lambda _: None) as pool:
            work = {"one": Work(errands.hold, "", (make_case(),))}
            ended = dict(pool.run_work(work, lambda _key, _share: None))
            assert ended["one"]["failed"].startswith(f"the cluster at {alone.address} has no workers")
            alone.processes[0].kill()
            pool.workers.patience = 3
            ended = dict(pool.run_work(work, lambda _key, _share: None))
            assert ended["one"]["failed"].startswith(f"the scheduler at {alone.address} does not answer")
    finally:
        alone.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "quick", "--dask", "nowhere"),
            "takes the address of a scheduler, tcp://HOST:PORT, not 'nowhere'",
        ),
        (("run", "quick", "--dask", "tcp://127.0.0.1:1"), "no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s"),
        (("run", "quick", "--dask", "tcp://127.0.0.1:1", "--jobs", "2"), "--jobs is about this machine"),
        (("run", "quick", "--dask", "tcp://127.0.0.1:1", "--patience", "0"), "--patience"),
        (("speed", "--dask", "tcp://127.0.0.1:1"), "no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s"),
        (("speed", "--aa-test", "5", "--dask", "tcp://127.0.0.1:1"), "--aa-test is about one machine"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "SECONDS", 1.0)
    assert said in read_refusal(*arguments, "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"\0" * 64])
def test_what_listens_but_is_no_scheduler_is_said_so(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "SECONDS", 1.0)

    def greet(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        if answer:
            threading.Thread(target=greet, args=(server,), daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        said = read_refusal("run", "quick", "--dask", address, "--out", str(tmp_path / "out"))
    assert f"no Dask scheduler answers at {address} within 1 s" in said


@pytest.mark.slow
def test_a_cluster_without_workers_is_said_before_anything_runs(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "SECONDS", 1.0)
    said = read_refusal("run", "quick", "--dask", cluster.address, "--out", str(tmp_path / "out"))
    assert f"the cluster at {cluster.address} has no workers" in said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "speed"])
def test_without_the_package_the_command_line_names_it(command: str, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['distributed'] = None\n"
        "from farreach.benchmarks import __main__\n"
        "from farreach.benchmarks.matrix import registry\n"
        "installed = registry.find_version\n"
        "registry.find_version = lambda name: None if name == 'distributed' else installed(name)\n"
        f"sys.argv = ['benchmarks', '{command}', '--dask', 'tcp://127.0.0.1:1', '--out', {str(tmp_path)!r}, 'quick']\n"
        "__main__.main()\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], cwd=registry.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --dask needs the package distributed (extra cluster), which is not installed\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "heading"), [("docs/machines.md", "# Many machines"), ("docs/lasting.md", "## On a cluster")]
)
def test_the_commands_of_the_documents_run_a_suite(document: str, heading: str, tmp_path: Path) -> None:
    text = (registry.ROOT / document).read_text()
    section = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    python -m (?:dask|benchmarks) .*$", section, re.MULTILINE)[:3]
    assert [line.split()[3] for line in lines] == ["scheduler", "worker", "run"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "quick.toml").write_text(SHORT.replace("[0, 1, 2, 3, 4, 5]", "[0]"))
    places = {"--port 8786": f"--port {port}", "127.0.0.1:8786": f"127.0.0.1:{port}"}
    places |= {"run quick --dask": f"run {tmp_path / 'quick.toml'} --dask", " --out results/runs/guide-dask": ""}
    for named, place in places.items():
        lines = [line.replace(named, place) for line in lines]
    started = []
    try:
        for line, more in zip(lines, [["--no-dashboard"], ["--no-dashboard"], ["--out", str(tmp_path)]], strict=True):
            with (tmp_path / "log").open("ab") as log:
                started.append(
                    subprocess.Popen(  # noqa: S603
                        [sys.executable, *line.split()[1:], *more],
                        cwd=registry.ROOT,
                        env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
                        stdout=log,
                        stderr=log,
                    )
                )
        wait_until(lambda: len(Store(tmp_path).list_finished()) == 2 or started[-1].poll(), 2 * DEADLINE)
        assert len(Store(tmp_path).list_finished()) == 2, (tmp_path / "log").read_text()
    finally:
        for process in reversed(started):
            process.terminate()  # a nanny ends its worker then
            process.wait()


def test_a_worker_is_asked_about_the_code_of_every_architecture_and_variant() -> None:
    clip = {"clip": "norm", "threshold": 1.0}
    apart = [make_case(), make_case(cell="lru"), make_case(replicas=2, **clip), make_case(microbatches=2, **clip)]
    alike = [make_case(seed=1), make_case(cell="lstm"), make_case(cell="mingru"), make_case(replicas=4, **clip)]
    needs = Work(worker.run_case, {}, (*apart, *alike)).needs
    assert len({*needs[: len(apart)]}) == len(apart)
    assert {*needs[len(apart) :]} < {*needs[: len(apart)]}
    assert [need[-1] for need in needs] == [worker.make_request(case)["code"] for case in (*apart, *alike)]


def test_a_key_does_not_depend_on_where_it_is_made() -> None:
    case = make_case(seed=3)
    asked = worker.make_request(case)
    assert worker.find_refusal(**asked) == ""
    assert Case.from_json(asked["case"]).key() == case.key()
    newer = dataclasses.replace(case, seed=4)
    assert "another version of Farreach" in worker.find_refusal(**asked | {"case": newer.to_json()})
    assert "another version of Farreach" in worker.find_refusal(**asked | {"case": newer.to_json() | {"colour": 1}})
