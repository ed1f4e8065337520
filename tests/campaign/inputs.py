"""Mutated inputs through the commands, in this process and in processes of their own: done, or refused in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from unittest import mock

from farreach.benchmarks.commands import COMMANDS
from farreach.benchmarks.matrix import registry
from farreach.results.publishing import packing
from tests.campaign.mutations import WORDS, mutate_bytes, mutate_json
from tests.campaign.runs import FaultError, require
from tests.support import synthetic
from tests.support.commands import call_command
from tests.support.timings import MACHINE, make_group, make_pair, write_check, write_groups

MOST_SECONDS, MOST_BYTES = 60.0, 2 * 2**30
"""What one input may cost."""

BEGINNINGS = (
    "farreach.benchmarks.running.sweep.Sweep.run",
    "farreach.benchmarks.running.worker_client.Live.start",
    "farreach.benchmarks.speed.command.measure_machine",
    "farreach.benchmarks.studies.live_check.measure_pairs",
    "farreach.benchmarks.studies.cluster_cost.measure_workers",
    "farreach.benchmarks.studies.coverage.measure_rates",
    "farreach.benchmarks.studies.own_cost.measure_costs",
    "farreach.results.publishing.documents.write_documents",
    "farreach.results.publishing.documents.list_stale",
)
"""What trains or times: here it only counts as begun."""

TABLES = ("summary", "accuracy", "gradients", "reach", "cases", "machines", "ratios", "steps")

BOMB = "[" + ", ".join(map(str, range(1, 100))) + "]"


class BegunError(Exception):
    """Training or timing would begin now: the input was taken."""


def attack_commands(folder: Path, count: int) -> Counter[str]:
    """Give `count` mutated inputs to the commands in this process; return the tally of kinds and of exit statuses."""
    dice, tally, base = random.Random(5_000), Counter[str](), make_base(folder / "base")  # noqa: S311
    slowest = 0.0
    with _stop_before_training(folder):
        for at in range(count):
            kind, words = mutate_input(dice, base, folder / "odd")
            start = time.monotonic()
            try:
                status, _, errors = call_command(*words)
            except BegunError:
                status, errors = 0, ""
            except Exception as error:
                raise FaultError(_keep_input(folder, at, words, traceback.format_exc())) from error
            slowest = max(slowest, time.monotonic() - start)
            _require_answer(folder, at, words, status, errors)
            tally[kind] += 1
            tally[f"exit status {status}"] += 1
    _require_cheap(slowest, resource.RUSAGE_SELF)
    tally["seconds of the slowest"] = round(slowest + 0.5)
    return tally


def attack_processes(folder: Path, count: int) -> Counter[str]:
    """Give `count` mutated inputs to commands in processes of their own; return the tally."""
    dice, tally, base = random.Random(300), Counter[str](), make_base(folder / "base")  # noqa: S311
    slowest = 0.0
    for at in range(count):
        kind, words = mutate_input(dice, base, folder / "odd", trains=False)
        start = time.monotonic()
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "benchmarks", *words],
            cwd=registry.ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_SECONDS,
        )
        slowest = max(slowest, time.monotonic() - start)
        _require_answer(folder, at, words, done.returncode, done.stderr)
        tally[kind] += 1
        tally[f"exit status {done.returncode}"] += 1
    _require_cheap(slowest, resource.RUSAGE_CHILDREN)
    tally["seconds of the slowest"] = round(slowest + 0.5)
    return tally


def make_base(folder: Path) -> Path:
    """Write a run folder with rows and timings, and a packed set of the same."""
    log = synthetic.run_line(failed=[{"case": "adding", "reason": "no memory"}])
    synthetic.write(folder / "run", [synthetic.record(key=f"k{at}", seed=at) for at in range(3)], runs=[log])
    write_groups(folder / "run", make_pair(1.5), make_group())
    write_check(folder / "run")
    (folder / "run" / "machine.json").write_text(json.dumps(MACHINE))
    packing.pack_set(folder / "run", folder / "packed")
    return folder


def mutate_input(dice: random.Random, base: Path, place: Path, *, trains: bool = True) -> tuple[str, list[str]]:
    """Write a mutated input to a place and return its kind, and the command line that reads it."""
    for old in (place, place.parent / "odd-out"):
        shutil.rmtree(old, ignore_errors=True)
    kinds = {"row": 30, "part": 15, "timing or log": 15, "packed set": 15, "suite": 15, "command line": 10 * trains}
    (kind,) = dice.choices([*kinds], [*kinds.values()])
    if kind == "command line":
        place.mkdir()
        return kind, [dice.choice([*COMMANDS]), *dice.choices(WORDS, k=dice.randint(0, 5))]
    if kind == "suite":
        place.mkdir()
        return kind, ["run", _write_suite(dice, place), *([] if trains else ["--only", "steps=7"])]
    shutil.copytree(base / ("packed" if kind == "packed set" else "run"), place)
    if kind == "packed set":
        _mutate_packed(dice, place)
        return kind, _read_set(dice, place, ["show", "unpack", "report"])
    parts = {"row": ["rows"], "part": ["curves", "evaluations", "flow", "spectra"]}.get(kind)
    paths = sorted(path for part in parts or ["timings", "check", "runs"] for path in (place / part).iterdir())
    path = dice.choice([*paths, place / "machine.json"] if parts is None else paths)
    mutate = mutate_bytes if path.suffix == ".parquet" else mutate_json
    path.write_bytes(mutate(dice, path.read_bytes()))
    return kind, _read_set(dice, place, ["pack"] if kind == "part" else ["show", "show", "show", "compare", "history"])


def _read_set(dice: random.Random, place: Path, commands: list[str]) -> list[str]:
    """Return a command that reads a set; one in fifty is a report, which takes seconds."""
    command = "report" if dice.random() < 0.02 else dice.choice(commands)
    words = [command, str(place)]
    if command == "show":
        words += ["--table", dice.choice(TABLES), "--as", dice.choice(["text", "csv", "markdown", "latex"])]
    words += [str(place)] if command == "compare" else []
    return (
        words
        if command in {"show", "report"}
        else [*words, "--out", str(place.parent / "odd-out" / dice.randbytes(6).hex())]
    )


def _mutate_packed(dice: random.Random, place: Path) -> None:
    """Change a file of a packed set; half the time the manifest has the digest of what a stranger wrote."""
    path = dice.choice(sorted(place.iterdir()))
    mutate = mutate_json if path.suffix == ".json" else mutate_bytes
    path.write_bytes(mutate(dice, path.read_bytes()))
    manifest = json.loads((place / "manifest.json").read_bytes()) if path.name != "manifest.json" else None
    if manifest and dice.random() < 0.5:
        manifest["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (place / "manifest.json").write_text(json.dumps(manifest))


def _write_suite(dice: random.Random, place: Path) -> str:
    path = place / dice.choice(["odd.toml", "o d.toml", "...toml", "=1+1.toml"])
    if dice.random() < 0.5:
        path.write_bytes(mutate_bytes(dice, dice.choice(sorted(registry.SUITES.glob("*.toml"))).read_bytes()))
        return str(path)
    key, value = dice.choice([word for word in WORDS if word]), dice.choice(WORDS)
    ways = [
        value,
        json.dumps(value),
        f"[{json.dumps(value)}]",
        f"{{ a = {value} }}",
        BOMB,
        f"{{ T = {BOMB}, U = {BOMB} }}",
    ]
    block = f'[[block]]\ntask = "adding"\ncell = "rnn"\nseed = {BOMB}\n{json.dumps(key)} = {dice.choice(ways)}\n'
    path.write_text(f'description = "odd"\n{block * dice.choice([1, 1, 40])}')
    return str(path)


@contextlib.contextmanager
def _stop_before_training(folder: Path) -> Iterator[None]:
    def begin(*_: object, **__: object) -> NoReturn:
        raise BegunError

    before = Path.cwd()
    with contextlib.ExitStack() as stack:
        for name in BEGINNINGS:
            stack.enter_context(mock.patch(name, begin))
        stack.enter_context(mock.patch.object(registry, "RUNS", folder / "runs"))
        (folder / "elsewhere").mkdir(exist_ok=True)
        os.chdir(folder / "elsewhere")
        stack.callback(os.chdir, before)
        yield


def _require_answer(folder: Path, at: int, words: list[str], status: int, errors: str) -> None:
    lines = errors.splitlines()
    fine = status in {0, 1} and "Traceback" not in errors
    refused = status == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    if not (fine or refused):
        raise FaultError(_keep_input(folder, at, words, f"status {status}: {errors[-2_000:]}"))


def _keep_input(folder: Path, at: int, words: list[str], what: str) -> str:
    """Keep an input that was not answered as it should be, so that it can be given again; return what to say."""
    kept = folder / f"fault-{at}"
    if (folder / "odd").exists():
        shutil.copytree(folder / "odd", kept)
    return f"input {at}, kept in {kept}: {' '.join(words)!r}: {what}"


def _require_cheap(slowest: float, who: int) -> None:
    most = resource.getrusage(who).ru_maxrss * 1024
    require(slowest < MOST_SECONDS, f"one input took {slowest:.0f} s")
    require(most < MOST_BYTES, f"one input took {most / 2**30:.1f} GiB")
