"""The project as pip installs it, in an environment with the packages that a test gives it, and no others."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from farreach.benchmarks.matrix import registry

ROOMS = ("tasks", "frameworks", "benchmarks", "results")
KINDS = {".py", ".typed", ".toml", ".js", ".css", ".j2", ".parquet", ".json", ".md"}
PIP = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")


def run(*arguments: Any, cwd: Path, python: Path | str = sys.executable, **environ: str) -> Any:
    """Run Python without what the tests have on its path."""
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(  # noqa: S603
        [str(python), *map(str, arguments)], cwd=cwd, env=apart | environ, capture_output=True, text=True, check=False
    )


def build_wheel(place: Path) -> Path:
    """Build the wheel of a copy of the sources, which a build leaves traces in."""
    source = place / "source"
    listed = [registry.ROOT / name for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md")]
    rooms = [path for room in ("farreach", *ROOMS) for path in (registry.ROOT / room).rglob("*")]
    outputs = {registry.ROOT / "results" / name for name in ("runs", "published")}
    sources = [path for path in rooms if path.suffix in KINDS and not outputs & set(path.parents)]
    sources += (registry.ROOT / "results" / "published" / "certificates").glob("*.json")
    for path in [*listed, *sources]:
        copy = source / path.relative_to(registry.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    done = run("-m", "pip", "wheel", *PIP, "--no-build-isolation", "--wheel-dir", place, source, cwd=source)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    return wheel


def make_environment(place: Path, wheel: Path) -> Path:
    """Make an environment that has the wheel and nothing else; return the folder of its programs."""
    venv.create(place, symlinks=True)
    programs = place / "bin"
    done = run("-m", "pip", "--python", programs / "python", "install", *PIP, wheel, cwd=place)
    assert done.returncode == 0, done.stderr
    return programs


def link_packages(place: Path, names: Iterable[str]) -> str:
    """Fill a folder with these distributions and what they need, as links; return it as a PYTHONPATH."""
    place.mkdir(parents=True, exist_ok=True)
    for name in find_needed(names):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            if not (place / top).exists():
                (place / top).symlink_to(str(distribution.locate_file(top)))
    return str(place)


def find_needed(names: Iterable[str]) -> set[str]:
    """Return distributions with all that they need and that is installed; pip's own words are asked."""
    found, queue = set[str](), [*names]
    while queue:
        asked = Requirement(queue.pop())
        name = re.sub(r"[-_.]+", "-", asked.name).lower()
        if name in found:
            continue
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system, say
        found.add(name)
        needs = map(Requirement, lines)
        extras = {"", *asked.extras}
        queue += [
            str(one) for one in needs if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)
        ]
    return found
