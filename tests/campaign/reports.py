"""Reports that are killed at random moments, and made whole by the next command."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

from farreach.benchmarks.matrix import registry
from farreach.results.publishing import unpacking
from tests.campaign.runs import finish_command, require, send_signal, start_command
from tests.campaign.runs import signal as signals

LINK = re.compile(r"\]\((figures/[^)]+|tables/[^)]+)\)")


def attack_reports(folder: Path, count: int) -> Counter[str]:
    """Kill a report `count` times at a random moment of the time that it takes; return the tally.

    Every time the page that is there must be whole: all that it links to is there. The next command must make the
    report that a run which was left alone makes.
    """
    dice, tally = random.Random(30), Counter[str]()  # noqa: S311
    out = folder / "set"
    unpacking.unpack_set(registry.ROOT / "results" / "published" / "calibration", out)
    finish_command("report", str(out))
    whole = hash_report(out)
    start = time.monotonic()
    finish_command("report", str(out))
    takes = time.monotonic() - start
    for _ in range(count):
        process = start_command("report", str(out))
        time.sleep(dice.uniform(0, 1.1 * takes))
        send_signal([process.pid] if process.poll() is None else [], signals.SIGKILL)
        ended = process.wait()
        tally["killed" if ended < 0 else "done before it was killed"] += 1
        _require_links(out)
        finish_command("report", str(out))
        require(hash_report(out) == whole, "the next report is not the one of a command that was left alone")
        require(not [*out.rglob("*.part")], "something half written is left")
    return tally


def hash_report(out: Path) -> dict[str, str]:
    """Return the digest of each file that a report wrote."""
    names = json.loads((out / ".report.json").read_text())["files"]
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in sorted(names)}


def _require_links(out: Path) -> None:
    links = LINK.findall((out / "report.md").read_text("utf-8"))
    require(links, "report.md shows no figure")
    missing = [link for link in links if not (out / link).exists()]
    require(not missing, f"report.md shows what is not there: {missing[:3]}")
    require((out / "report.html").exists(), "the page is not there")
