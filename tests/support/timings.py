"""Made-up timings with planted ratios: groups, A/A checks, a machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from farreach.benchmarks.matrix.case import Case
from farreach.results.storage.files import write_json
from farreach.results.storage.sets import open_set
from farreach.results.timing import aa_check, interleaved

REFERENCE = {"task": "adding", "parameters": (("T", 10),), "framework": "reference", "cell": "rnn", "path": "numpy"}
CASE = Case(**REFERENCE, hidden=8, clip="norm", threshold=1.0, dtype="float64")  # type: ignore[arg-type]

MACHINE: dict[str, Any] = {
    "threads": 1,
    "gflops": {"float32": 100.0, "float64": 50.0},
    "copy_gb_per_s": 10.0,
    "processor": "Some Processor",
    "cores": 2,
    "blas": "openblas",
    "device": None,
}

Seconds = np.ndarray[Any, np.dtype[np.float64]]

STEP = {
    "task": "adding",
    "parameters": {"T": 50},
    "cell": "lstm",
    "layers": 1,
    "hidden": 64,
    "batch": 32,
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
}


def make_seconds(middle: float, *, rounds: int = 120, spread: float = 0.02, seed: int = 0) -> Seconds:
    return middle * np.exp(np.random.default_rng(seed).normal(0, spread, rounds))


def split_name(name: str) -> dict[str, str]:
    framework, _, path = name.partition(" (")
    return {"framework": framework, "path": path.rstrip(")") or "eager"}


def make_contender(name: str, seconds: Seconds, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        **split_name(name),
        "loop": "",
        "kernel": "a kernel",
        "compile_seconds": 1.0,
        "flops": 1_000_000,
        "peak_bytes": 2**30,
        "idle_bytes": 2**29,
        "seconds": seconds,
        "cpu_to_wall": 1.0,
    } | changes


def make_group(*contenders: dict[str, Any], **changes: Any) -> dict[str, Any]:
    rounds = len(contenders[0]["seconds"]) if contenders else 0
    return {
        "schema": interleaved.SCHEMA,
        "step": STEP,
        "length": 50,
        "plan": {"limit": 60.0},
        "failed": [],
        "contenders": list(contenders),
        "rounds": rounds,
        "rounds_wanted": rounds,
        "waiting": 0.0,
        "clock_step": 0.0,
        "facts": {"command": "python -m benchmarks speed", "commit": "abc"},
    } | changes


def make_pair(ratio: float) -> dict[str, Any]:
    """PyTorch takes `ratio` times as long as JAX."""
    return make_group(
        make_contender("pytorch (eager)", make_seconds(ratio, seed=1)),
        make_contender("jax (scan)", make_seconds(1.0, seed=2)),
    )


def write_groups(folder: Path, *groups: dict[str, Any]) -> Path:
    for at, one in enumerate(groups):
        lines = [line | {"seconds": line["seconds"].tolist()} for line in one["contenders"]]
        write_json(folder / interleaved.FOLDER / f"{at}.json", one | {"contenders": lines})
    return folder


def write_check(tmp_path: Path, *, bias: float = 0.0, planted: float = 0.02) -> aa_check.AATest:
    """40 launches of 6 trials; `bias` is how far one launch's ratio lies from another's, one standard deviation."""
    random = np.random.default_rng(5)
    for number in range(40):
        slower = planted if number % 4 == 3 else 0.0
        middle = (1 + slower) * math.exp(random.normal(0, bias) if bias else 0)
        trials = [
            {
                "first": make_seconds(1.0, rounds=30, seed=1_000 * number + at).tolist(),
                "second": make_seconds(middle, rounds=30, seed=1_000 * number + 500 + at).tolist(),
            }
            for at in range(6)
        ]
        facts = {"framework": "jax", "path": "scan", "cell": "rnn", "launch": number, "planted": slower, "rounds": 30}
        write_json(tmp_path / aa_check.FOLDER / f"{number}.json", facts | {"trials": trials})
    found = aa_check.read_test(open_set(tmp_path))
    assert found
    return found


def make_ratios(ratios: dict[str, float], *, rounds: int = 120, spread: float = 0.01, **changes: Any) -> dict[str, Any]:
    """Return a group of paired timings: seconds of each contender, in terms of one that takes 10 ms."""
    step = {"task": "adding", "parameters": {"T": 50}, "cell": "lstm", "layers": 1, "hidden": 64, "batch": 32}
    step |= {"dtype": "float32", "device": "cpu", "threads": 1}
    drawn = np.random.default_rng([*"".join(ratios).encode()]).lognormal(0, spread, (len(ratios), rounds))
    contenders = [
        {"name": name, **split_name(name), "loop": "", "seconds": 0.01 * ratio * noise}
        for (name, ratio), noise in zip(ratios.items(), drawn, strict=True)
    ]
    return {
        "step": step | changes,
        "contenders": contenders,
        "facts": {"command": "python -m benchmarks speed", "commit": "abc"},
    }
