"""Where the timings go, and the live worker that gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import Live, StartError

DEFAULT = registry.RUNS / "speed" / "speed.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the threads that each framework gets."""
    parser.addoption("--threads", type=int, default=1, help="threads of every framework (default 1)")
    parser.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="where to train (default cpu)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Write pytest-benchmark's JSON in any case, into results/runs/speed where nothing else is said."""
    path = Path(config.option.benchmark_json or DEFAULT)
    path.parent.mkdir(parents=True, exist_ok=True)
    config.option.benchmark_json = path


@pytest.fixture(scope="module", params=registry.list_compared())
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Yield a live process of one framework; it is the only one while it is timed."""
    framework: str = request.param
    try:
        registry.require_framework(framework)
    except registry.UsageError as missing:
        pytest.skip(str(missing))
    device, threads = (request.config.getoption(name) for name in ("device", "threads"))
    live = Live(framework, device, threads, tmp_path_factory.mktemp("logs") / "worker.log")
    try:
        live.start()
    except StartError as missing:
        pytest.skip(str(missing))
    yield live
    live.stop()
