"""The machine's limits are measured with the threads that were asked for; peak memory and energy are a region's own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import NUMPY_THREADS
from farreach.benchmarks.speed import machine, resources
from farreach.benchmarks.speed.messages import Joules

MIB = 2**20


@pytest.fixture(scope="module")
def limits() -> dict[str, Any]:
    """Return a measurement without repeats beyond the fewest, small enough for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SQUARES", (64, 128))
        patch.setattr(machine, "SMALLEST_COPY", MIB)
        patch.setattr(machine, "CACHES", 0)
        return machine.measure_here(1, budget=0)


def test_the_peak_is_the_best_product_of_its_dtype(limits: dict[str, Any]) -> None:
    for dtype in ("float32", "float64"):
        rates = {(one["m"], one["k"], one["n"]): one["gflops"] for one in limits["products"] if one["dtype"] == dtype}
        assert set(rates) == {(64, 64, 64), (128, 128, 128), *machine.STEPS.values()}
        assert limits["gflops"][dtype] == max(rates.values()) == rates[tuple(limits["at"][dtype])] > 0


def test_a_product_counts_two_operations_for_each_of_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: float(next(ticks)))  # every call takes a second
    one = machine._measure_product(np.random.default_rng(0), (3, 4, 5), "float32", 0)  # noqa: SLF001
    assert one["gflops"] == pytest.approx(2 * 3 * 4 * 5 / 1e9)
    assert machine.measure_copy_rate(MIB, 2, budget=0) == pytest.approx(2 * MIB / 1e9)  # read and written


def test_the_rate_is_that_of_the_fastest_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, *(0.0, 5.0), *(5.0, 7.0), *(7.0, 16.0), 16.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine._measure_rate(lambda: None, 6.0, 1.0) == 3.0  # noqa: SLF001


def test_facts_name_neither_the_host_nor_a_path(limits: dict[str, Any]) -> None:
    assert limits["cores"] == os.cpu_count()
    assert 1 <= limits["cores_granted"] <= len(os.sched_getaffinity(0))
    assert limits["memory_bytes"] > 2**28
    assert limits["processor"]
    text = json.dumps(limits)
    assert socket.gethostname() not in text
    assert not re.search(r"/[a-z]+/", text)


def test_the_threads_are_set_before_numpy_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        given.append({"command": command, **more})
        return subprocess.CompletedProcess(command, 0, stdout='{"threads": 3}')

    monkeypatch.setattr(machine.subprocess, "run", run)
    gpu = {"gflops": {"float32": 67_000.0}}
    assert machine.measure_machine(3, device=gpu) == {"threads": 3, "device": gpu}
    assert {given[0]["env"][name] for name in NUMPY_THREADS} == {"3"}
    assert given[0]["command"] == [sys.executable, "-m", machine.__name__]


def test_a_measurement_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\n  something\nMemoryError: no room\n")
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(machine.MachineError, match=r"^the machine could not be measured: MemoryError: no room$"):
        machine.measure_machine(1)


# Memory


def test_the_peak_is_what_the_block_held_and_not_what_came_before_it() -> None:
    program = """
import json, numpy as np
from farreach.benchmarks.speed import resources
np.ones(2**25).sum()  # 256 MiB, freed before the block
with resources.PeakMemory() as peak:
    np.ones(2**23).sum()  # 64 MiB
print(json.dumps({"kind": peak.kind, "added": peak.bytes - peak.before}))
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], cwd=registry.ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    if found["kind"] == "lifetime":
        pytest.skip("this system does not let a process set its peak back")
    assert 60 * MIB < found["added"] < 80 * MIB


def test_where_the_peak_cannot_be_set_back_it_is_the_process_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "RESET", tmp_path / "none" / "clear_refs")
    with resources.PeakMemory() as peak:
        pass
    assert peak.kind == "lifetime"
    assert peak.bytes >= peak.before > 0


def test_status_is_read_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    monkeypatch.setattr(resources, "STATUS", tmp_path / "status")
    monkeypatch.setattr(resources, "RESET", tmp_path / "clear_refs")
    with resources.PeakMemory() as peak:
        assert (tmp_path / "clear_refs").read_text() == "5"
    assert (peak.before, peak.bytes, peak.kind) == (1 * MIB, 2 * MIB, "region")


# Energy


@dataclasses.dataclass
class Tracker:
    """Stands in for codecarbon's: 0.002 kWh, half of them the processor's, in 20 s."""

    given: dict[str, Any]
    sources: tuple[str, ...]

    def start(self) -> None:
        self._hardware = [types.SimpleNamespace(description=lambda one=one: one) for one in self.sources]

    def stop(self) -> None:
        if self.sources:
            self.final_emissions_data = types.SimpleNamespace(
                energy_consumed=2e-3, cpu_energy=1e-3, ram_energy=1e-3, gpu_energy=0.0, duration=20.0
            )


def metered(monkeypatch: pytest.MonkeyPatch, *sources: str) -> tuple[Joules, dict[str, Any]]:
    made: list[Tracker] = []

    def tracker(**given: Any) -> Tracker:
        made.append(Tracker(given, sources))
        return made[0]

    monkeypatch.setitem(sys.modules, "codecarbon", types.SimpleNamespace(OfflineEmissionsTracker=tracker))  # type: ignore[arg-type]
    monkeypatch.setenv("CODECARBON_TELEMETRY_LEVEL", "minimal")
    with resources.EnergyMeter() as meter:
        assert os.environ["CODECARBON_TELEMETRY_LEVEL"] == "disabled"
    return meter.result, made[0].given


def test_energy_is_in_joules_and_codecarbon_may_send_it_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    result, given = metered(monkeypatch, "RAM()", "CPU(Intel Rapl)")
    assert (result.joules, result.cpu_joules) == pytest.approx((7_200, 3_600))
    assert (given["output_methods"], given["emissions_endpoint"]) == ([], False)


@pytest.mark.parametrize(
    ("sources", "method"),
    [
        (["RAM()", "CPU(Intel Rapl)"], "measured"),
        (["RAM()", "CPU(Cpu Load)"], "estimated"),
        (["RAM()", "CPU(Some Processor > 85W [generic])"], "estimated"),
        (["RAM()", "CPU(Cpu Load)", "GPU (One)"], "estimated"),
        (["RAM()", "CPU(Intel Rapl)", "GPU (One)"], "measured"),
        (["RAM()"], "estimated"),
    ],
)
def test_energy_is_measured_only_where_the_processor_has_a_meter(
    monkeypatch: pytest.MonkeyPatch, sources: list[str], method: str
) -> None:
    assert metered(monkeypatch, *sources)[0].energy_method == method


def test_without_codecarbon_or_its_figures_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metered(monkeypatch)[0] == Joules(energy_reason="codecarbon gave no figures on this machine")
    monkeypatch.setitem(sys.modules, "codecarbon", None)  # type: ignore[arg-type]
    with resources.EnergyMeter() as meter:
        pass
    assert meter.result == Joules(energy_reason="codecarbon is not installed")


def test_the_real_codecarbon_opens_no_connection_writes_no_file_and_is_quiet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("codecarbon")
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nsave_to_file = true\nsave_to_api = true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODECARBON_TELEMETRY_LEVEL", "minimal")
    tried: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: tried.append(address))
    with resources.EnergyMeter() as meter:
        sum(range(10**7))
    assert tried == []
    assert "".join(capfd.readouterr()) == ""
    assert [path.name for path in tmp_path.iterdir()] == [".codecarbon.config"]
    assert meter.result.joules is not None, meter.result.energy_reason
    assert meter.result.joules > 0
    assert meter.result.energy_method in {"measured", "estimated"}
