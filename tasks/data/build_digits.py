"""Build the shipped images of digits: ``python -m farreach.tasks.data.build_digits [--check] WHEEL``.

WHEEL is a wheel of ``scikit-learn`` 1.9.1 (``pip download --no-deps scikit-learn==1.9.1``), any of its builds: each
carries the same 1,797 images of the UCI set. With ``--check`` nothing is written: the files are built aside and their
SHA-256 compared with those beside this script.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from farreach.tasks.data import building

MEMBER = "sklearn/datasets/data/digits.csv.gz"
HELD_OUT = 36
"""Evaluation images of each digit, a fifth of its 174 to 183."""

DIGITS = 10


def read(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, [images, 64] uint8 from 0 to 16, row after row, and their digits [images]."""
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(MEMBER))
    lines = np.loadtxt(io.BytesIO(text), delimiter=",").astype(np.uint8)
    return lines[:, :-1], lines[:, -1]


def table(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> pa.Table:
    """Return the chosen rows; ``pixels`` holds each image flat, row after row from its top."""
    schema = pa.schema([("id", pa.string()), ("label", pa.int32()), ("pixels", pa.list_(pa.uint8()))])
    columns = {
        "id": [f"uci-{row:04d}" for row in rows],
        "label": labels[rows].astype(np.int32),
        "pixels": pa.array(list(images[rows]), schema.field("pixels").type),
    }
    return pa.table(columns, schema)


def build(wheel: Path, folder: Path) -> None:
    """Write ``train.parquet`` and ``evaluation.parquet`` into `folder`."""
    images, labels = read(wheel)
    random = np.random.default_rng(0)
    shuffled = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(DIGITS)]
    held_out = np.sort(np.concatenate([rows[:HELD_OUT] for rows in shuffled]))
    building.write(table(images, labels, np.setdiff1d(np.arange(len(labels)), held_out)), folder / "train.parquet")
    building.write(table(images, labels, held_out), folder / "evaluation.parquet")


if __name__ == "__main__":
    building.main("digits", build, "a wheel of scikit-learn 1.9.1")
