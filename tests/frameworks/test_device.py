"""What runs on a GPU, as far as it can be shown without one: settings, paths, commands, and arithmetic of layouts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import NUMPY_THREADS, Live
from farreach.benchmarks.speed import aa_check, device, timed
from farreach.benchmarks.speed.messages import list_known
from farreach.benchmarks.studies import certification
from farreach.frameworks import environment, weights
from farreach.frameworks.base import Training, UnsupportedError
from farreach.frameworks.layouts import LAYOUTS
from farreach.results.report import timing
from farreach.results.timing import interleaved
from farreach.results.timing.ratios import USUAL
from tests.support import gpu
from tests.support.commands import run_command
from tests.support.models import CELLS, make_batches, make_model
from tests.support.timings import make_contender, make_group

INSTALLED = registry.list_installed()


# The environment of a live process


@pytest.mark.parametrize("device_name", ["cpu", "cuda"])
def test_keras_has_its_backend_and_its_defaults_whatever_the_user_set(
    device_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    ours = Live("tensorflow", device_name, 1, tmp_path / "log").make_environment()
    assert ours["KERAS_BACKEND"] == "tensorflow"
    assert not Path(ours["KERAS_HOME"], "keras.json").exists()
    assert Live("pytorch", device_name, 1, tmp_path / "log").make_environment()["KERAS_BACKEND"] == "jax"


@pytest.mark.slow
@pytest.mark.skipif("tensorflow" not in INSTALLED, reason="TensorFlow is not installed")
def test_a_users_file_for_keras_moves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "jax", "floatx": "float16", "epsilon": 0.5}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    environ = Live("tensorflow", "cpu", 1, tmp_path / "log").make_environment()
    program = "import keras; print(keras.backend.backend(), keras.config.floatx(), keras.config.epsilon())"
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["tensorflow", "float32", "1e-07"]


# What PyTorch's graphs and compilers need


class Stream:
    """A stream of a GPU that is not there."""

    def wait_stream(self, other: object) -> None:
        """Wait for nothing."""


def test_graphs_are_recorded_on_one_stream_and_a_recording_that_fails_gives_the_current_one_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    from farreach.frameworks.pytorch import paths  # noqa: PLC0415 - it needs PyTorch

    paths.find_stream.cache_clear()
    before, made, current = Stream(), list[Stream](), list[object]()
    recorded = list[object]()

    def make_stream() -> Stream:
        made.append(Stream())
        return made[-1]

    @contextlib.contextmanager
    def record(_graph: object, stream: object) -> Iterator[None]:
        current.append(stream)
        recorded.append(stream)
        yield  # and nothing is undone where the block fails

    monkeypatch.setattr(torch.cuda, "Stream", make_stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: before)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "set_stream", current.append)
    calls = iter(range(100))

    def step(batch: Any) -> Any:
        if next(calls) == 2 * paths.WARM_UP + 1:  # while the second graph is recorded
            message = "operation not permitted when stream is capturing"
            raise RuntimeError(message)
        return batch

    paths.StepGraph(step, []).record(torch.ones(2))
    assert current[-1] is before
    with pytest.raises(RuntimeError, match="capturing"):
        paths.StepGraph(step, []).record(torch.ones(2))
    assert current[-1] is before
    assert len(made) == 1
    assert recorded == [made[0], made[0]]
    paths.find_stream.cache_clear()


def test_the_compiler_of_a_gpu_is_looked_for_where_triton_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from farreach.frameworks.pytorch import paths  # noqa: PLC0415 - it needs PyTorch

    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(paths, "HEADER", tmp_path / "Python.h")
    monkeypatch.setattr(paths.shutil, "which", lambda name: name if name == "cc" else None)
    with pytest.raises(UnsupportedError, match="needs a C compiler"):
        paths.compile_step(len, "cuda")
    monkeypatch.setattr(paths.shutil, "which", lambda name: name if name == "clang" else None)
    with pytest.raises(UnsupportedError, match=r"needs Python\.h"):
        paths.compile_step(len, "cuda")
    (tmp_path / "Python.h").write_text("")
    assert paths.compile_step(len, "cuda") is len


def test_a_gpu_whose_memory_jax_does_not_tell_of_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    from farreach.frameworks.jax import device as ours  # noqa: PLC0415 - it needs JAX

    class Gpu:
        told: Any = None

        def memory_stats(self) -> Any:
            return self.told

    one, ran = Gpu(), list[int]()
    monkeypatch.setattr(ours, "synchronise", lambda: None)
    monkeypatch.setattr(ours.jax, "devices", lambda: [one])
    assert timed.measure_memory(lambda: ran.append(1), ours).device_peak_bytes is None
    one.told = {"peak_bytes_in_use": 7}
    assert timed.measure_memory(lambda: ran.append(1), ours).device_peak_bytes == 7
    assert ran == [1, 1]


def test_flags_join_the_users_and_other_variables_are_ours() -> None:
    wanted = {"XLA_FLAGS": "--ours=true", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    assert environment.merge_environment(wanted, {}) == wanted
    there = {"XLA_FLAGS": "--theirs=1 --more", "CUBLAS_WORKSPACE_CONFIG": ":0:0", "OTHER": "x"}
    joined = environment.merge_environment(wanted, there)
    assert joined == {"XLA_FLAGS": "--theirs=1 --more --ours=true", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    assert environment.merge_environment(wanted, there | joined) == joined  # once and not twice
    assert (
        environment.describe_environment(wanted, joined)
        == "XLA_FLAGS=--theirs=1 --more --ours=true, CUBLAS_WORKSPACE_CONFIG=:4096:8"
    )


def test_a_worker_says_which_variables_it_has_that_can_move_a_bit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {
        **dict.fromkeys(("XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"), "a"),
        **dict.fromkeys(("MKL_CBWR", "TF_ENABLE_ONEDNN_OPTS", "JAX_DISABLE_JIT", "KMP_AFFINITY"), "b"),
        **dict.fromkeys(("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "GLIBC_TUNABLES", "KERAS_BACKEND"), "c, d"),
        **dict.fromkeys(("NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"), "1"),
    }
    idle = dict.fromkeys(("TF_CPP_MIN_LOG_LEVEL", "JAX_ENABLE_X64", "GOMP_CPU_AFFINITY", "CUDA_VISIBLE_DEVICES"), "0")
    for name in {*os.environ} & {*json.loads(environment.read_variables(os.environ)["variables"])}:
        monkeypatch.delenv(name)
    # The last is set for a worker whatever the user says.
    for name, value in (given | idle | {"UNKNOWN": "x", "OMP_NUM_THREADS": "7"}).items():
        monkeypatch.setenv(name, value)
    worker = Live("reference", "cpu", 2, tmp_path / "log")
    worker.start()
    worker.stop()
    assert json.loads(worker.facts["variables"]) == given | dict.fromkeys(NUMPY_THREADS, "2")
    assert idle.items() <= json.loads(worker.facts["variables_idle"]).items()
    assert "UNKNOWN" not in worker.facts["variables_idle"]


def test_a_variable_that_moves_no_bit_says_why() -> None:
    assert all(name.startswith(environment.KINDS) and " " in why for name, why in environment.IDLE.items())


@pytest.mark.parametrize("framework", registry.list_compared())
def test_a_live_process_on_a_gpu_starts_with_what_its_framework_wants(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--theirs=1")
    wanted = registry.read_environment(framework, "cuda")
    assert wanted
    there = Live(framework, "cuda", 3, Path("unused")).make_environment()
    for name, value in wanted.items():
        assert there[name] == (f"--theirs=1 {value}" if name == "XLA_FLAGS" else value)
    assert {there[name] for name in NUMPY_THREADS} == {"3"}


@pytest.mark.parametrize("framework", registry.list_frameworks())
def test_a_live_process_on_the_cpu_has_its_threads_and_nothing_more(framework: str) -> None:
    ours = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull} if framework == "tensorflow" else {}
    assert registry.read_environment(framework, "cpu") == ours
    expected = os.environ | dict.fromkeys(NUMPY_THREADS, "2") | ours
    assert Live(framework, "cpu", 2, Path("unused")).make_environment() == expected


def test_every_framework_of_a_gpu_is_told_to_repeat_itself_and_to_leave_memory_to_others() -> None:
    said = {name: registry.read_environment(name, "cuda") for name in registry.list_compared()}
    assert {one["CUBLAS_WORKSPACE_CONFIG"] for one in said.values()} == {":4096:8"}
    for name in ("jax", "tensorflow"):
        assert "--xla_gpu_deterministic_ops=true" in said[name]["XLA_FLAGS"]
    assert said["jax"]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert said["tensorflow"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


# Paths


def test_the_paths_on_a_gpu_and_what_leads_them() -> None:
    offered = {name: [registry.list_paths(name, "cuda", cell) for cell in CELLS] for name in registry.list_compared()}
    assert offered["pytorch"] == [("cudnn", "cudagraph", "compiled", "eager")] * 3
    assert offered["tensorflow"] == [("xla", "graph"), ("cudnn", "xla", "graph"), ("cudnn", "xla", "graph")]
    assert offered["jax"] == [("scan",), ("scan", "cudnn"), ("scan",)]
    for name in registry.list_compared():  # a native layer has no other kernels than ours
        for cell in CELLS:
            assert set(registry.list_paths(name, "cuda", cell, registry.NATIVE)) <= set(
                registry.list_paths(name, "cuda", cell)
            )


def test_every_framework_that_offers_a_gpu_has_the_file_that_asks_it() -> None:
    for name in registry.list_compared():
        assert registry.has_part(name, "device")
        assert name in gpu.BUILT


@pytest.mark.skipif("jax" not in INSTALLED, reason="JAX is not installed")
def test_jaxs_cudnn_weights_lie_as_jax_itself_unpacks_them() -> None:
    """And by JAX's own reference of that LSTM they compute what our scan does."""
    recurrent_file, ours = (
        pytest.importorskip("farreach.frameworks.jax.recurrent"),
        pytest.importorskip("farreach.frameworks.jax"),
    )
    rnn, jnp = pytest.importorskip("jax.experimental.rnn"), pytest.importorskip("jax.numpy")
    ours.configure("cpu", 1)
    model = make_model("lstm")
    drawn = weights.draw(model, 1)
    kernel, recurrent, bias = (jnp.array(drawn[f"layer0.{part}"], "float32") for part in ("input", "recurrent", "bias"))
    inputs = jnp.array(make_batches(model, 1)[0].inputs.swapaxes(0, 1))
    steps, rows, width = inputs.shape
    shape = (width, model.hidden, 1, 0.0, False)
    parts = rnn.unpack_lstm_weights(recurrent_file.pack_weights(kernel, recurrent, bias), *shape[:3], shape[-1])
    assert not np.any(parts[3][0])  # the second bias
    nothing, lengths = jnp.zeros((1, rows, model.hidden), "float32"), jnp.full((rows,), steps, jnp.int32)
    states, _, _ = rnn.lstm_ref(inputs.swapaxes(0, 1), nothing, nothing, *parts, lengths, *shape)
    scanned = recurrent_file.Network(model).scan_layer(inputs, kernel, recurrent, bias, every_step=True)
    np.testing.assert_allclose(states.swapaxes(0, 1), scanned, atol=1e-6)


@pytest.mark.skipif("jax" not in INSTALLED, reason="JAX is not installed")
def test_jaxs_cudnn_lstm_refuses_float64_in_one_line() -> None:
    ours = pytest.importorskip("farreach.frameworks.jax")
    model = make_model("lstm")
    given = {"device": "cpu", "dtype": "float64", "threads": 1, "path": "cudnn"}
    with pytest.raises(UnsupportedError, match=r"^JAX's cuDNN LSTM computes in float32 alone: float64 runs on path"):
        ours.Framework(model, Training(), weights.draw(model, 0), **given)


@pytest.mark.skipif("pytorch" not in INSTALLED, reason="PyTorch is not installed")
def test_pytorchs_kernels_are_chosen_for_a_run_and_not_for_the_process() -> None:
    paths, torch = pytest.importorskip("farreach.frameworks.pytorch.paths"), pytest.importorskip("torch")
    before = torch.backends.cudnn.enabled
    for path, on in (("cudnn", True), ("cudagraph", True), ("compiled", True), ("eager", False)):
        with paths.use_kernels(path):
            assert torch.backends.cudnn.enabled is on
        assert torch.backends.cudnn.enabled is before
    with pytest.raises(ZeroDivisionError), paths.use_kernels("eager"):
        divmod(1, 0)
    assert torch.backends.cudnn.enabled is before
    assert (
        paths.name_kernel("cudnn", "gru", torch.zeros(2), by_hand=False) == "ATen"
    )  # cuDNN takes no weight of the CPU


@pytest.mark.skipif("pytorch" not in INSTALLED, reason="PyTorch is not installed")
def test_a_restored_state_lies_where_it_lay() -> None:
    """A CUDA graph reads and writes the memory that it was recorded with."""
    ours = pytest.importorskip("farreach.frameworks.pytorch")
    model = make_model("gru", tokens=True)
    one = ours.Framework(
        model, Training("adam"), weights.draw(model, 0), device="cpu", dtype="float64", threads=1, path="eager"
    )

    def places() -> list[int]:
        return [tensor.data_ptr() for tensor in (*one.trained, *one.slots[0], *one.slots[1], *one.steps)]

    start, lay = one.state(), places()
    one.train(make_batches(model, 3))
    moved = one.state()
    one.restore(start)
    one.train(make_batches(model, 3))
    assert places() == lay
    assert weights.digest(one.weights()) == weights.digest(moved.weights)
    assert {float(count) for count in one.steps} == {3.0}


# Clocks


class Order:
    """Writes down in which order it is asked; no GPU."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seconds = 0.25

    def synchronise(self) -> None:
        self.said.append("wait")

    def Stopwatch(self) -> Self:  # noqa: N802 - the name of the class that it stands for
        return self

    def __enter__(self) -> Self:
        self.said.append("begin")
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("end")

    def measure_peak(self, run: Any) -> tuple[int, str]:
        run()
        return 7, "region"


def test_a_clock_starts_after_a_wait_and_stops_after_another() -> None:
    order = Order()
    found = timed.time_call(lambda: order.said.append("run"), order)
    assert order.said == ["wait", "begin", "run", "end"]
    assert found.device == 0.25
    assert timed.time_call(lambda: None).device is None


def test_memory_is_told_of_the_device_where_there_is_one() -> None:
    ran: list[int] = []
    there = timed.measure_memory(lambda: ran.append(1), Order())
    assert (there.device_peak_bytes, there.device_peak_kind) == (7, "region")
    assert {*list_known(timed.measure_memory(lambda: ran.append(2)))} == {"peak_bytes", "peak_kind", "idle_bytes"}
    assert ran == [1, 2]


def test_a_rate_is_the_best_of_several_measurements_long_enough_for_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, counts = {"now": 0.0}, []
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock["now"])

    def queue(count: int) -> None:
        counts.append(count)
        clock["now"] += 0.001 * count * (3 if len(counts) == 8 else 1)  # one of them is disturbed

    assert device._measure_rate(queue, budget=0) == pytest.approx(1_000)  # noqa: SLF001
    assert counts == [1, 1, 2, 4, 8, 16, 32, 32, 32]
    with pytest.raises(ValueError, match="the CPU is measured by"):
        device.measure_device(device.load_device("pytorch", "cpu"))


# Tables


def on_gpu(**changes: Any) -> dict[str, Any]:
    one = make_contender("pytorch (cudnn)", np.full(30, 0.002), device_seconds=0.0015, device_peak_bytes=3 * 2**20)
    found = make_group(one | changes)
    return found | {"step": found["step"] | {"device": "cuda"}}


MACHINE = {"gflops": {"float32": 5.0}, "device": {"gflops": {"float32": 50.0, "float32 TF32": 400.0}}}


def test_a_row_on_a_gpu_is_held_against_the_gpus_peak_of_its_own_precision() -> None:
    row = interleaved.list_costs([on_gpu()], MACHINE).iloc[0]
    assert row["share of peak"] == pytest.approx(0.5 / 50)
    assert row["ms on the device"] == pytest.approx(1.5)
    assert row["peak device MiB"] == pytest.approx(3)
    assert interleaved.list_costs([on_gpu()], {"gflops": {"float32": 5.0}})["share of peak"].isna().all()
    bare = interleaved.list_costs([on_gpu(device_seconds=None)], MACHINE).iloc[0]
    assert bare["ms on the device"] is None


def test_tables_of_the_cpu_have_no_columns_of_a_device() -> None:
    table = interleaved.list_costs([make_group(make_contender("jax (scan)", np.full(30, 0.002)))], MACHINE)
    assert list(table) == [name for name in interleaved.COSTS if name not in {"loop", *USUAL}]
    assert table["share of peak"].iloc[0] == pytest.approx(0.1)


def test_memory_grows_on_the_device_where_the_step_runs() -> None:
    groups = []
    for batch in (1, 8, 64):
        found = on_gpu(device_peak_bytes=batch * 2**20)
        groups.append(found | {"step": found["step"] | {"batch": batch}})
    grown = interleaved.list_growth(groups)
    assert grown["peak_memory_bytes"].tolist() == [2**20, 8 * 2**20, 64 * 2**20]


def test_the_page_names_the_gpu_its_libraries_and_its_settings() -> None:
    facts = {"device_name": "A100", "device_software": "CUDA 13.0, cuDNN 92000", "device_settings": "XLA_FLAGS=--x"}
    said = timing._describe_device(  # noqa: SLF001
        MACHINE["device"] | facts | {"copy_gb_per_s": 1_500.0, "framework": "pytorch", "precision": "float32, TF32 off"}
    )
    for part in ("A100", "CUDA 13.0, cuDNN 92000", "float32 TF32 0.4 TFLOP/s", "1500 GB/s", "TF32 off", "pytorch"):
        assert part in said


# Checks and commands


def test_checks_and_launches_are_made_for_a_device() -> None:
    for name in registry.list_compared():
        found = certification.list_checks(name, "cuda")
        assert len(found) == len(certification.list_checks(name))
        assert {one.device for one in found} == {"cuda"}
        usual = [one for one in found if LAYOUTS[one.cell].family == "recurrent"]
        assert all(one.path == registry.choose_path(name, "cuda", one.cell, one.clip) for one in usual)
        assert all(one.path in registry.list_paths(name, "cuda", one.cell) for one in found)
        assert certification.Check(**dataclasses.asdict(found[0])) == found[0]
    launches = aa_check.list_launches(["pytorch"], 6, 1, "cuda")
    assert {launch.case.device for launch in launches} == {"cuda"}
    assert {launch.case.path for launch in launches} == {"cudnn"}


COMMANDS = [["run", "quick"], ["speed"], ["speed", "--handwritten"], ["speed", "--aa-test", "6"], ["certify"]]


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    ("framework", "arguments"),
    [*((INSTALLED[0], command) for command in COMMANDS), *((name, ["speed"]) for name in INSTALLED[1:])],
)
def test_a_missing_gpu_is_said_in_one_line_before_anything_is_measured(
    framework: str, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_command(
        *arguments, "--device", "cuda", "--only", f"framework={framework}", "--out", str(out), CUDA_VISIBLE_DEVICES=""
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "finds no CUDA GPU on this machine" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(out.rglob("*.json"))


def test_the_judge_has_no_gpu() -> None:
    done = run_command("speed", "--device", "cuda", "--only", "framework=reference", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "reference does not run on cuda; it runs on: cpu" in done.stderr
