"""Pages of made-up result sets, one of them with hostile names, and what their files hold."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from farreach.results.record import Record
from farreach.results.site import page
from farreach.results.storage import columns
from tests.support import synthetic

HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "\"'><b>bold</b>",
    "{{ 7 * 7 }}",
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe \N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}",
]


def write_page(folder: Path, records: list[Record], **more: Any) -> str:
    """Write records and their page without a report; return the page."""
    store = synthetic.write(folder, records, runs=more.get("runs"))
    if "groups" in more:
        (folder / "timings").mkdir()
        for at, group in enumerate(more["groups"]):
            contenders = [one | {"seconds": list(one["seconds"])} for one in group["contenders"]]
            (folder / "timings" / f"{at}.json").write_text(json.dumps(group | {"contenders": contenders, "schema": 1}))
    page.write(store.folder)
    return (folder / page.PAGE).read_text(encoding="utf-8")


def read_shards(folder: Path) -> dict[str, Any]:
    """Return all cases of all shards."""
    found: dict[str, Any] = {}
    for path in (folder / page.FOLDER).glob("curves-*.js"):
        call = re.fullmatch(r"farreach\.shard\((\d+),(.*)\);\n", path.read_text(), re.DOTALL)
        assert call
        found |= json.loads(call[2])
    return found


@contextmanager
def accept_names() -> Iterator[None]:
    """Read rows of any names: what comes through all the same must be shown as text."""
    with mock.patch.dict(columns.NAMES, clear=True):
        yield


def write_hostile(folder: Path) -> str:
    """Write a set in which every name is hostile, and its page; return the page."""
    records = [
        synthetic.record(
            framework=name,
            suite=name,
            processor=name,
            command=f"python -m benchmarks run {shlex.quote(name)}",
            parameters=json.dumps({"T": 50, "name": name}),
            seed=at,
            unit=name,
        )
        for at, name in enumerate(HOSTILE)
    ]
    failed = synthetic.run_line(failed=[{"case": name, "reason": name} for name in HOSTILE])
    with accept_names():
        return write_page(folder, records, runs=[failed])
