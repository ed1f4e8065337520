"""The way to a Dask cluster: an address, one line where it leads nowhere, and Dask's own log out of the way."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import distributed

from farreach.benchmarks.cluster.pool import Pool
from farreach.benchmarks.cluster.workers import Workers, describe_empty
from farreach.benchmarks.matrix import registry
from farreach.results.storage import files

SECONDS = 10.0
"""How long a scheduler has to answer, and how long the first worker has to come."""

LOGS = ("distributed", "tornado", "asyncio")


def connect_pool(address: str, *, patience: float, notice: Callable[[str], None], log: Path) -> Pool:
    """Return the workers of a cluster; raise `UsageError` where there is no scheduler, or no worker.

    Args:
        address: of the scheduler, tcp://HOST:PORT.
        patience: seconds that a worker may be silent.
        notice: hears a line about a worker that is not used.
        log: where Dask's own messages go.

    """
    _divert_logs(log)
    kind = _ask_kind(address)
    if kind not in {"", "Scheduler"}:
        message = f"at {address} a Dask {kind.lower()} listens, not a scheduler"
        raise registry.UsageError(message)
    try:
        if not kind:
            raise TimeoutError
        client = distributed.Client(address, timeout=SECONDS, set_as_default=False)
    except OSError as error:
        message = f"no Dask scheduler answers at {address} within {SECONDS:g} s"
        raise registry.UsageError(message) from error
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError as error:
        client.close(timeout=1)
        raise registry.UsageError(describe_empty(address)) from error
    return Pool(client, Workers(client, address, patience), notice)


def _ask_kind(address: str) -> str:
    """Return what listens at an address, in Dask's words, or "": a client would wait for something else without end."""

    async def ask() -> str:
        arguments = distributed.Security().get_connection_args("client")  # of tls://, as Dask's configuration has them
        async with distributed.rpc(address, connection_args=arguments) as there:
            return str((await there.identity())["type"])

    try:
        return asyncio.run(asyncio.wait_for(ask(), SECONDS))
    except Exception:  # noqa: BLE001 - a stranger may answer anything
        return ""


def _divert_logs(log: Path) -> None:
    """Have what Dask says about connections that come and go written to a file: what matters is said in our words."""
    files.open_log(log).close()  # refuses a link
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in LOGS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    warnings.filterwarnings("ignore", category=distributed.versions.VersionMismatchWarning)
