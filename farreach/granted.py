"""What of a machine this process may use: cores by its affinity and its control groups, memory by the latter too.

A batch system, a container or ``taskset`` grants a part of the host; `os.cpu_count` tells of the host alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS, MOUNTS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Which control groups this process is in, and where they are told of."""


def count_cores() -> int:
    """Return how many cores this process may use: those of its affinity, or fewer by the quota of a control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    shares = [_divide(text) for text in _read_files("cpu.max")]  # of version 2: "QUOTA PERIOD", or "max PERIOD"
    quotas, periods = _read_files("cpu.cfs_quota_us", "cpu"), _read_files("cpu.cfs_period_us", "cpu")
    shares += [_divide(f"{quota} {period}") for quota, period in zip(quotas, periods, strict=False)]
    return max(1, min([cores, *(int(share) for share in shares if share)]))


def find_memory() -> int:
    """Return how many bytes this process may use: those of the host, or fewer by the limit of a control group."""
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [*_read_files("memory.max"), *_read_files("memory.limit_in_bytes", "memory")]
    return min([host, *(int(limit) for limit in limits if limit.isdigit())])


def _divide(text: str) -> float:
    """Return the quota over its period, in cores; 0 where there is none."""
    match = re.fullmatch(r"([1-9]\d*) ([1-9]\d*)", text)
    return max(1.0, int(match[1]) / int(match[2])) if match else 0.0


def _read_files(name: str, controller: str = "") -> list[str]:
    """Return what a file says in this process's group and in those above it, whose limits hold as well.

    Args:
        name: of the file.
        controller: whose hierarchy it is in, in version 1; "" in version 2.

    """
    texts = []
    for folder in _list_folders(controller):
        try:
            texts.append((folder / name).read_text("utf-8").strip())
        except OSError:  # the root has no limits; in a container the host's groups are not to be seen
            continue
    return texts


def _list_folders(controller: str) -> Iterator[Path]:
    """Yield the folder of this process's group, then those above it."""
    try:
        lines = GROUPS.read_text("utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(",") or ".." in path.split("/"):
            continue
        top = MOUNTS / controllers
        group = top / path.strip("/")
        yield from (group, *(above for above in group.parents if above.is_relative_to(top)))
