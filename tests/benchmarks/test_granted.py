"""What a run may use of its machine: fewer cores and less memory than the host has, by affinity and control groups."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from farreach import granted
from farreach.benchmarks.commands.shared import runs
from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running import environment
from farreach.results.analysis import history
from farreach.results.report import contents
from farreach.results.report.phrases import write_cores
from farreach.results.site import page
from tests.support import synthetic

PROGRAM = """
import json, os
from farreach.benchmarks.commands.shared import runs
from farreach.benchmarks.running import environment
facts = environment.collect_facts()
print(json.dumps([os.cpu_count(), facts["cores"], facts["cores_granted"], runs.collect_facts("s", None)["jobs"]]))
"""


@pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed")
def test_a_process_that_is_given_one_core_starts_one_job_and_records_both_counts() -> None:
    first = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(  # noqa: S603
        ["taskset", "-c", first, sys.executable, "-c", PROGRAM],  # noqa: S607
        cwd=registry.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    host, cores, allowed, jobs = json.loads(done.stdout)
    assert cores == host
    assert (allowed, jobs) == (1, 1)


GROUPS = {
    "nothing": ("0::/\n", {}, 64, 2**36),
    "version 2": (
        "0::/job/step\n",
        {"job/step/cpu.max": "250000 100000", "job/step/memory.max": "1073741824"},
        2,
        2**30,
    ),
    "version 2, no limit": ("0::/job\n", {"job/cpu.max": "max 100000", "job/memory.max": "max"}, 64, 2**36),
    "version 2, above": (
        "0::/job/step\n",
        {"job/step/cpu.max": "max 100000", "job/cpu.max": "400000 100000"},
        4,
        2**36,
    ),
    "version 2, a container's": ("0::/\n", {"cpu.max": "300000 100000"}, 3, 2**36),
    "version 2, of another": ("0::/../other\n", {"cpu.max": "100000 100000"}, 64, 2**36),
    "less than a core": ("0::/\n", {"cpu.max": "10000 100000"}, 1, 2**36),
    "version 1": (
        "5:cpu,cpuacct:/job\n4:memory:/job\n1:name=systemd:/\n",
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "800000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/job/memory.limit_in_bytes": "536870912",
        },
        8,
        2**29,
    ),
    "version 1, no limit": (
        "5:cpu:/\n4:memory:/\n",
        {
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(2**63 - 4096),
        },
        64,
        2**36,
    ),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_the_limits_of_a_control_group_and_of_those_above_it_hold(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, files, cores, memory = GROUPS[kind]
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr(granted, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(granted, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(granted.os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(granted.os, "sysconf", lambda name: 2**24 if name == "SC_PHYS_PAGES" else 2**12)
    assert granted.count_cores() == cores
    assert granted.find_memory() == memory
    assert runs.collect_facts("s", None, 2)["jobs"] == max(1, cores // 2)
    assert environment.collect_facts()["cores_granted"] == cores


def test_a_page_says_how_many_cores_were_granted_where_they_are_fewer() -> None:
    assert write_cores(2, None) == write_cores(2, float("nan")) == write_cores(2, 2) == "2 cores"
    assert write_cores(128, 4) == "128 cores, of which 4 were granted"


def test_runs_of_other_grants_are_no_series_of_times_and_older_rows_count_as_granted_all() -> None:
    rows = [synthetic.record(cores=8, cores_granted=now, seed=seed).to_row() for seed, now in enumerate((None, 8, 2))]
    frame = pd.DataFrame(rows).assign(name="a", run=[0, 1, 2])
    machines = history.trace_rows(frame).lines["machines"]
    assert machines.tolist() == [2]


def test_a_page_names_a_machine_once_though_earlier_rows_do_not_know_what_was_granted(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, [synthetic.record(seed=0), synthetic.record(seed=1, cores_granted=2)])
    facts = page._write_facts(contents.read_results(store.folder))  # noqa: SLF001
    assert sum("2 cores" in fact for fact in facts) == 1
