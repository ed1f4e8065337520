"""Every path on a GPU: what it computes, which kernel runs, that clocks wait for it, and that runs repeat bit for bit.

Each test asks a live process, or a program of its own, for a framework on ``cuda``; where there is no GPU that the
framework can use it is skipped, with the reason. Nothing here imports a framework.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running import training
from farreach.benchmarks.running.messages import Outcome, Run
from farreach.benchmarks.running.worker_client import Live
from farreach.benchmarks.speed.handwritten import LOOPS, NEEDS
from farreach.benchmarks.speed.messages import Chunk, Device, Limits, Load, Loaded, Memory, Peak, Steps
from farreach.benchmarks.studies.certification import Check
from farreach.benchmarks.studies.messages import Certify, Differences
from farreach.results.analysis.certificates import is_within_bounds
from tests.support import certified, gpu
from tests.support.commands import run_command

NAMES = [name for name in registry.list_compared() if name in gpu.BUILT]
CELLS = ("rnn", "lstm", "gru")
WAYS = [(name, cell, path) for name in NAMES for cell in CELLS for path in registry.list_paths(name, "cuda", cell)]
SINGLE = {("jax", "lstm", "cudnn")}
"""Ways whose kernel is float32 alone, so that nothing can be shown of them in float64."""

DOUBLE = [way for way in WAYS if way not in SINGLE]
GIVEN = ("optimizer", "inputs", "layers", "clip", "regulariser")
KINDS = [
    ("adam", "vectors", 1, "norm", "none"),
    ("rmsprop", "tokens", 2, "value", "l2"),
    ("momentum", "vectors", 2, "none", "l1"),
    ("sgd", "tokens", 1, "norm", "none"),
    ("adam", "tokens", 2, "variable", "none"),
    ("adam", "tokens", 2, "agc", "none"),
    ("adam", "tokens", 2, "autoclip", "none"),
]
STEPS = 10

Start = Callable[..., Live]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return the live process of a framework on the GPU, the same for all tests; or another beside it."""
    log = tmp_path_factory.mktemp("logs")
    lives: dict[tuple[str, int], Live] = {}

    def start_live(framework: str, *, copy: int = 0) -> Live:
        if reason := gpu.missing(framework):
            pytest.skip(reason)
        if (framework, copy) not in lives:
            lives[framework, copy] = Live(framework, "cuda", 1, log / f"{framework}.log")
            lives[framework, copy].start()
        return lives[framework, copy]

    yield start_live
    for live in lives.values():
        live.stop()


def make_case(framework: str, cell: str, path: str, **fields: Any) -> Case:
    given = {"task": "adding", "parameters": (("T", 50),), "clip": "norm", "threshold": 1.0, "hidden": 128}
    short = {"steps": STEPS, "evaluate_every": STEPS, "device": "cuda"}
    return Case(framework=framework, cell=cell, path=path, **(given | short | fields))


def run_case(live: Live, case: Case) -> Outcome:
    return live.ask(Run(case), Outcome)


@functools.cache
def run_reference(cell: str) -> Outcome:
    """What the reference makes of `a_case`, in float64 on the CPU."""
    plain = {"device": "cpu", "dtype": "float64"}
    return training.train(make_case("reference", cell, "numpy", **plain), lambda _: None)


def run_program(framework: str, text: str, **environment: str) -> Any:
    """Run a program in a process as a live one has it, set up for the GPU; return what it printed, as JSON."""
    if reason := gpu.missing(framework):
        pytest.skip(reason)
    head = f"import json\nfrom farreach.frameworks import {framework} as ours\nours.configure('cuda', 1)\n"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", head + text],
        cwd=registry.ROOT,
        env=Live(framework, "cuda", 1, Path("unused")).make_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# What is computed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
@pytest.mark.parametrize(("framework", "cell", "path"), DOUBLE)
def test_every_update_is_the_references_in_float64(
    start: Start, framework: str, cell: str, path: str, kind: tuple[Any, ...]
) -> None:
    """Loss, norms and weights within 1e-10 relative, from the reference's own state at every step."""
    given = dict(zip(GIVEN, kind, strict=True))
    check = Check(framework=framework, cell=cell, path=path, activation="tanh", device="cuda", **given)
    result = start(framework).ask(Certify(check, STEPS), Differences).values
    assert is_within_bounds(certified.make_check(check, result)), result


@pytest.mark.parametrize(
    ("framework", "cell", "path"),
    [(name, cell, path) for name, cell, path in DOUBLE if path in registry.list_looped(name, "cuda", cell)],
)
def test_backprop_is_the_references_on_every_path_that_runs_step_by_step(
    start: Start, framework: str, cell: str, path: str
) -> None:
    given = dict(zip(GIVEN, ("adam", "tokens", 2, "backprop", "none"), strict=True))
    check = Check(framework=framework, cell=cell, path=path, activation="tanh", device="cuda", **given)
    result = start(framework).ask(Certify(check, STEPS), Differences).values
    assert is_within_bounds(certified.make_check(check, result)), result


@pytest.mark.parametrize(
    ("activation", "regulariser"),
    [("relu", "none"), ("sigmoid", "none"), ("tanh", "omega"), ("tanh", "omega2")],
)
@pytest.mark.parametrize(("framework", "path"), [(name, path) for name, cell, path in DOUBLE if cell == "rnn"])
def test_every_rnn_is_the_references_in_float64(
    start: Start, framework: str, path: str, activation: str, regulariser: str
) -> None:
    given = dict(zip(GIVEN, ("sgd", "vectors", 2, "norm", regulariser), strict=True))
    check = Check(framework=framework, cell="rnn", path=path, activation=activation, device="cuda", **given)
    result = start(framework).ask(Certify(check, STEPS), Differences).values
    assert is_within_bounds(certified.make_check(check, result)), result


@pytest.mark.parametrize(("framework", "cell", "path"), WAYS)
def test_float32_is_full_float32_on_every_path(start: Start, framework: str, cell: str, path: str) -> None:
    """The first step's loss and norm within 2e-5 of float64: products in TF32 would be off by some 1e-4."""
    live = start(framework)
    found = run_case(live, make_case(framework, cell, path))
    for name in ("loss", "norm_before"):
        assert found.curves[name][0] == pytest.approx(run_reference(cell).curves[name][0], rel=2e-5), name
    assert live.facts["precision"] == "float32, TF32 off"


@pytest.mark.parametrize(("framework", "cell", "path"), WAYS)
def test_the_gradient_through_time_is_the_references(start: Start, framework: str, cell: str, path: str) -> None:
    found, expected = run_case(start(framework), make_case(framework, cell, path)).flow, run_reference(cell).flow
    first = [at for at, step in enumerate(expected["step"]) if step == 0]
    assert first
    np.testing.assert_allclose(*([flow["h"][at] for at in first] for flow in (found, expected)), rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"optimizer": "rmsprop", "clip": "value", "threshold": 0.01},
        {"optimizer": "momentum", "clip": "none", "threshold": None},
        {"optimizer": "sgd", "regulariser": "l2", "strength": 1e-3},
        {"optimizer": "sgd", "clip": "autoclip", "threshold": 40.0},
        {"optimizer": "adagrad", "accumulator": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 3},
        {"optimizer": "momentum", "schedule": "step", "rate_every": 3, "rate_factor": 0.5},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_replayed_cuda_graph_computes_what_its_steps_do_one_by_one(
    start: Start, cell: str, changes: dict[str, Any]
) -> None:
    live = start("pytorch")
    eager, graph = (run_case(live, make_case("pytorch", cell, path, **changes)) for path in ("cudnn", "cudagraph"))
    for name in ("loss", "norm_before", "norm_after", "clipped"):
        np.testing.assert_allclose(graph.curves[name], eager.curves[name], rtol=1e-5, err_msg=name)
    assert graph.result.moved == pytest.approx(eager.result.moved, rel=1e-4)


def test_a_cuda_graph_is_recorded_again_for_another_shape_and_goes_on_from_a_restored_state() -> None:
    found = run_program(
        "pytorch",
        "from tests.support import models as here\n"
        "from farreach.frameworks import base, weights\n"
        "model = here.make_model('lstm', tokens=True, layers=2)\n"
        "drawn = weights.draw(model, 0)\n"
        "def made(path):\n"
        "    schedule = base.Schedule('cosine', 12, warmup=4)\n"
        "    recipe = base.Training('adamw', 0.01, base.Clip('norm', 0.1), weight_decay=0.1, schedule=schedule)\n"
        "    return ours.Framework(model, recipe, drawn, device='cuda', dtype='float64', threads=1, path=path)\n"
        "chunks = [here.make_batches(model, 3, seed, rows=rows) for seed, rows in ((0, 8), (1, 4), (2, 8))]\n"
        "losses = {}\n"
        "for path in ('cudnn', 'cudagraph'):\n"
        "    one = made(path)\n"
        "    start = one.state()\n"
        "    one.prepare(chunks[0], chunks[0][0].inputs)\n"
        "    first = [loss for chunk in chunks for loss in one.train(chunk).loss]\n"
        "    one.restore(start)\n"
        "    losses[path] = first + [loss for chunk in chunks for loss in one.train(chunk).loss]\n"
        "print(json.dumps(losses))\n",
    )
    np.testing.assert_allclose(found["cudagraph"], found["cudnn"], rtol=1e-12)
    np.testing.assert_array_equal(found["cudagraph"][:9], found["cudagraph"][9:])


# Which kernel runs


@pytest.mark.parametrize(("framework", "cell", "path"), WAYS)
def test_the_record_names_the_kernel(start: Start, framework: str, cell: str, path: str) -> None:
    kernel = run_case(start(framework), make_case(framework, cell, path)).kernel
    without = {("pytorch", "eager"), ("tensorflow", "xla"), ("tensorflow", "graph"), ("jax", "scan")}
    assert ("cuDNN" in kernel) == ((framework, path) not in without), kernel
    assert ("CUDA graph" in kernel) == (path == "cudagraph")
    assert ("Inductor" in kernel) == (path == "compiled")


def test_cudnn_runs_in_pytorch_where_the_record_says_so_and_nowhere_else() -> None:
    """By PyTorch's profiler, with the models of all paths alive in one process."""
    found = run_program(
        "pytorch",
        "import torch\n"
        "from tests.support import models as here\n"
        "from farreach.frameworks import base, weights\n"
        "model = here.make_model('lstm')\n"
        "batches = here.make_batches(model, 2)\n"
        "kinds = {'device': 'cuda', 'dtype': 'float32', 'threads': 1}\n"
        "made = {path: ours.Framework(model, base.Training(), weights.draw(model, 0), path=path, **kinds)\n"
        "        for path in ('cudnn', 'eager', 'cudagraph')}\n"
        "said = {}\n"
        "for path, one in made.items():\n"
        "    with torch.profiler.profile() as profiler:\n"
        "        one.train(batches)\n"
        "    names = {event.key for event in profiler.key_averages()}\n"
        "    said[path] = [one.kernel, any('_cudnn_rnn' in name for name in names)]\n"
        "print(json.dumps(said))\n",
    )
    assert {path: ran_cudnn for path, (_, ran_cudnn) in found.items()} == {
        "cudnn": True,
        "eager": False,
        "cudagraph": True,  # recorded within the first call
    }
    assert all(("cuDNN" in kernel) == ran_cudnn for kernel, ran_cudnn in found.values())


def test_jaxs_cudnn_lstm_is_in_the_compiled_program() -> None:
    found = run_program(
        "jax",
        "import jax\n"
        "from tests.support import models as here\n"
        "from farreach.frameworks import base, weights\n"
        "model = here.make_model('lstm')\n"
        "text = {}\n"
        "for path in ('scan', 'cudnn'):\n"
        "    one = ours.Framework(model, base.Training(), weights.draw(model, 0), device='cuda', dtype='float32',\n"
        "                         threads=1, path=path)\n"
        "    given = (one.carried, one.stack_batches(here.make_batches(model, 2)), one.limits, jax.numpy.int32(2))\n"
        "    text[path] = one.chunk.lower(*given).as_text()\n"
        "print(json.dumps({path: 'dnn_rnn' in lowered for path, lowered in text.items()}))\n",
    )
    assert found == {"scan": False, "cudnn": True}


# Again and again


@pytest.mark.parametrize(("framework", "cell", "path"), WAYS)
def test_separate_processes_end_in_the_same_bits(start: Start, framework: str, cell: str, path: str) -> None:
    case = make_case(framework, cell, path, steps=100, evaluate_every=50, task="copy", parameters=(("T", 20),))
    one, other = (run_case(start(framework, copy=copy), case) for copy in (0, 1))
    assert one.curves == other.curves
    assert one.result.weights_sha256 == other.result.weights_sha256


@pytest.mark.skipif(registry.find_version("datasets") is None, reason="the task translation needs datasets")
@pytest.mark.parametrize(("framework", "path"), [(name, path) for name, cell, path in WAYS if cell == "lstm"])
def test_an_embedding_whose_tokens_repeat_is_updated_in_the_same_order_every_time(
    start: Start, framework: str, path: str
) -> None:
    short = {"longest": 24, "vocabulary": 1_000}
    case = make_case(framework, "lstm", path, task="translation", parameters=tuple(sorted(short.items())), hidden=32)
    one, other = (run_case(start(framework), case).result for _ in range(2))
    assert one.weights_sha256 == other.weights_sha256


@pytest.mark.parametrize("framework", NAMES)
def test_a_record_says_what_was_set_and_which_libraries_ran(start: Start, framework: str) -> None:
    facts = start(framework).facts
    for name, value in registry.read_environment(framework, "cuda").items():
        assert name in facts["device_settings"]
        assert value in facts["device_settings"]
    assert facts["device_name"] != "cpu"
    assert "CUDA" in facts["device_software"].upper()


# Time


WAITING = """
import time
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.speed import device, timed
gpu = device.load_device({framework!r}, "cuda")
made = timed.load_step(Case.from_json({case!r}), count=20, loop={loop!r})
shares = []
for _ in range(3):
    gpu.synchronise()
    began = time.perf_counter()
    made.chunk()
    returned = time.perf_counter()
    gpu.synchronise()
    shares.append((time.perf_counter() - returned) / (returned - began))
print(json.dumps(sorted(shares)[1]))
"""


@pytest.mark.parametrize(("framework", "cell", "path"), [way for way in WAYS if way[1] != "gru"])
def test_a_chunk_returns_with_the_gpu_idle(framework: str, cell: str, path: str) -> None:
    """What is left to wait for after a chunk is next to nothing beside the chunk."""
    case = make_case(framework, cell, path, hidden=512, batch=256).to_json()
    assert run_program(framework, WAITING.format(framework=framework, case=case, loop="")) < 0.05


@pytest.mark.parametrize("loop", LOOPS)
def test_a_handwritten_loop_returns_with_the_gpu_idle(loop: str) -> None:
    if lacking := [name for name in NEEDS.get(loop, ()) if registry.find_version(name) is None]:
        pytest.skip(f"{loop} needs a package that is not installed: {', '.join(lacking)}")
    framework = LOOPS[loop]
    path = registry.list_paths(framework, "cuda", "lstm")[0]
    case = make_case(framework, "lstm", path, hidden=512, batch=256).to_json()
    assert run_program(framework, WAITING.format(framework=framework, case=case, loop=loop)) < 0.05


@pytest.mark.parametrize("framework", NAMES)
def test_waiting_for_the_gpu_waits_for_what_was_queued(framework: str) -> None:
    """Products that are queued and not waited for take no time until `synchronise`, which takes theirs."""
    queue = {
        "pytorch": "import torch\na = torch.rand(8000, 8000, device='cuda')\ndef queue():\n    return a @ a\n",
        "jax": "import jax\na = jax.numpy.ones((8000, 8000), 'float32')\ntimes = jax.jit(lambda x: x @ x)\n"
        "def queue():\n    return times(a)\n",
        "tensorflow": "import tensorflow as tf\nwith tf.device('/GPU:0'):\n    a = tf.random.uniform((8000, 8000))\n"
        "def queue():\n    return tf.matmul(a, a)\n",
    }[framework]
    queued, waited = run_program(
        framework,
        queue + "import time\n"
        "from farreach.benchmarks.speed import device\n"
        f"gpu = device.load_device({framework!r}, 'cuda')\n"
        "queue()\n"
        "gpu.synchronise()\n"
        "began = time.perf_counter()\n"
        "for _ in range(10):\n    queue()\n"
        "returned = time.perf_counter()\n"
        "gpu.synchronise()\n"
        "print(json.dumps([returned - began, time.perf_counter() - returned]))\n",
    )
    assert waited > 5 * queued


@pytest.mark.parametrize("framework", NAMES)
def test_a_block_tells_the_gpus_own_time_where_there_are_events(start: Start, framework: str) -> None:
    live = start(framework)
    case = make_case(framework, "lstm", registry.list_paths(framework, "cuda", "lstm")[0])
    live.ask(Load("clock", case, 20), Loaded)
    block = [live.ask(Steps("clock"), Chunk) for _ in range(3)][-1]
    assert (block.device is not None) == (framework == "pytorch")
    assert 0 < (block.device or block.wall) <= 1.01 * block.wall


# Memory, and what the GPU can do


@pytest.mark.parametrize(("framework", "path"), [(name, path) for name, cell, path in WAYS if cell == "lstm"])
def test_the_peak_of_the_gpus_memory_grows_with_the_batch(start: Start, framework: str, path: str) -> None:
    live, peaks = start(framework, copy=1), []
    for batch in (64, 1_024):
        case = make_case(framework, "lstm", path, batch=batch, parameters=(("T", 100),))
        live.ask(Load("memory", case, 2), Loaded)
        found = live.ask(Memory("memory"), Peak)
        assert found.device_peak_kind == ("lifetime" if framework == "jax" else "region")
        assert found.device_peak_bytes is not None
        peaks.append(found.device_peak_bytes)
        # Each step keeps its four gates, c and h in float32 for the way back; something of the kind must be there.
        assert found.device_peak_bytes > 100 * batch * 128 * 4
    assert peaks[1] >= peaks[0]
    if framework != "jax":
        assert peaks[1] > 4 * peaks[0]


@pytest.mark.parametrize("framework", NAMES)
def test_the_gpu_is_measured_with_tf32_and_without(start: Start, framework: str) -> None:
    live = start(framework)
    found = live.ask(Device(), Limits).limits
    assert set(found["gflops"]) == {"float32", "float32 TF32", "float64"}
    assert found["gflops"]["float32 TF32"] > found["gflops"]["float32"] > 500
    assert found["copy_gb_per_s"] > 50
    assert live.facts["precision"] == "float32, TF32 off"
    after = run_case(
        live, make_case(framework, "lstm", registry.list_paths(framework, "cuda", "lstm")[0])
    )  # and is off again
    assert after.curves["loss"][0] == pytest.approx(run_reference("lstm").curves["loss"][0], rel=2e-5)


# The commands


SUITE = """
description = "a step of each path on the GPU"
[[block]]
task = "adding"
parameters = { T = 20 }
cell = ["rnn", "lstm"]
hidden = 32
steps = 100
clip = { kind = "norm", threshold = 1.0 }
"""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    return str(path)


@pytest.fixture
def usable() -> list[str]:
    """Return the words that name every framework that has a GPU here; skip where none has."""
    reasons = {name: gpu.missing(name) for name in NAMES}
    if all(reasons.values()):
        pytest.skip("; ".join(sorted(set(reasons.values()))))
    return [word for name, reason in reasons.items() if not reason for word in ("--only", f"framework={name}")]


def test_frameworks_are_timed_against_each_other_on_one_gpu(usable: list[str], suite: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_command("speed", suite, "--device", "cuda", "--limit", "5", *usable, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    groups = [json.loads(path.read_text()) for path in (out / "timings").glob("*.json")]
    assert len(groups) == 2
    for group in groups:
        assert not group["failed"]
        assert {one["framework"] for one in group["contenders"]} == {name.partition("=")[2] for name in usable[1::2]}
        for one in group["contenders"]:
            offered = registry.list_paths(one["framework"], "cuda", group["step"]["cell"])
            assert [way["path"] for way in one["tried"]] == list(offered if len(offered) > 1 else ())
            assert one["device_peak_bytes"] > 2**16
            assert one["facts"]["device_settings"]
            assert ("device_seconds" in one) == (one["framework"] == "pytorch")
    machine = json.loads((out / "machine.json").read_text())
    assert machine["device"]["gflops"]["float32"] > machine["gflops"]["float32"]
    page = (out / "speed.md").read_text()
    assert machine["device"]["device_name"] in page
    assert "peak device MiB" in page


@pytest.mark.parametrize("framework", NAMES)
def test_our_step_is_timed_against_the_handwritten_loops_on_a_gpu(framework: str, suite: str, tmp_path: Path) -> None:
    if reason := gpu.missing(framework):
        pytest.skip(reason)
    out = tmp_path / "out"
    only = ("--only", f"framework={framework}", "--only", "cell=lstm")
    done = run_command("speed", suite, "--handwritten", "--device", "cuda", "--limit", "5", *only, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    (group,) = (json.loads(path.read_text()) for path in (out / "timings").glob("*.json"))
    there = [loop for loop, runs_in in LOOPS.items() if runs_in == framework]
    there = [loop for loop in there if all(map(registry.find_version, NEEDS.get(loop, ())))]
    assert [one["loop"] for one in group["contenders"] if one["loop"]] == there
    assert not group["failed"]


def test_a_suite_runs_on_the_gpu_and_its_records_say_so(usable: list[str], suite: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_command("run", suite, "--device", "cuda", *usable, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(path.read_text()) for path in (out / "rows").glob("*.json")]
    assert len(rows) == len(usable)  # two words and two cells a framework
    for row in rows:
        assert row["device"] == "cuda"
        assert row["device_settings"]
        assert row["precision"] == "float32, TF32 off"
        assert row["path"] == registry.list_paths(row["framework"], "cuda", row["cell"])[0]


@pytest.mark.parametrize("framework", NAMES)
def test_a_certificate_on_the_gpu_names_it(framework: str, tmp_path: Path) -> None:
    if reason := gpu.missing(framework):
        pytest.skip(reason)
    only = [f"framework={framework}", "cell=lstm", "inputs=tokens", "optimizer=adam"]
    words = [word for text in only for word in ("--only", text)]
    done = run_command("certify", "--device", "cuda", *words, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = tmp_path.glob("*.json")
    certificate = json.loads(written.read_text())
    assert certificate["device"] == "cuda"
    assert certificate["digest"] == written.stem
    assert all(map(is_within_bounds, certificate["checks"]))


@pytest.mark.parametrize("framework", NAMES)
def test_the_frameworks_own_defaults_run_on_a_gpu(start: Start, framework: str) -> None:
    live = start(framework)
    for cell in CELLS:
        for path in registry.list_paths(framework, "cuda", cell, registry.NATIVE):
            found = run_case(live, make_case(framework, cell, path, mode="native"))
            assert found.result.status == "finished"
            assert ("cuDNN" in found.kernel) == (path == "cudnn")
