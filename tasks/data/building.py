"""What the two build scripts share: the Parquet settings, and the command line with ``--check``."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent


def write(table: pa.Table, path: Path) -> None:
    """Write Parquet with zstd; the bytes depend on the table and on the version of pyarrow."""
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=False)


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare(built: Path, shipped: Path) -> list[str]:
    """Return one line for every file that is missing on one side or differs."""
    names = sorted({path.name for folder in (built, shipped) for path in folder.iterdir() if path.is_file()})
    problems = []
    for name in names:
        if not (built / name).exists() or not (shipped / name).exists():
            problems.append(f"{name} is on one side only")
        elif sha256(built / name) != sha256(shipped / name):
            problems.append(f"{name} differs")
    return problems


def main(name: str, build: Callable[[Path, Path], None], source: str, default: Path | None = None) -> None:
    """Run a build script's command line; with ``--check`` exit 1 where the bytes differ."""
    parser = argparse.ArgumentParser(description=f"Build the shipped {name} corpus.")
    parser.add_argument("--check", action="store_true", help="build aside and compare, write nothing")
    parser.add_argument("source", type=Path, nargs="?" if default else None, default=default, help=source)
    options = parser.parse_args()
    if not options.source.exists():
        parser.error(f"{options.source} does not exist; it must be {source}")
    shipped = HERE / name
    if not options.check:
        shipped.mkdir(exist_ok=True)
        build(options.source, shipped)
        for path in sorted(shipped.iterdir()):
            print(f"{sha256(path)}  {path.stat().st_size:>9,}  {name}/{path.name}")
        return
    with tempfile.TemporaryDirectory() as folder:
        build(options.source, Path(folder))
        problems = compare(Path(folder), shipped)
    print("\n".join(problems) or f"{name}: every file is rebuilt to the same bytes")
    sys.exit(bool(problems))
