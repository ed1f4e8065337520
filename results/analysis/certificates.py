"""Which rows stand under a certificate: that what made them was held against the reference implementation.

A row stands under a certificate where its digest has one, and where all that it is, kind by kind, was checked there
and found within the bounds. What a row says of itself counts for nothing more: `reproduce` makes its digest again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from farreach.results.storage.certificates import Certificate, CheckResult, read_certificates
from farreach.results.vocabulary import NONE

MATCHED = "matched"

BOUNDS: dict[str, dict[str, float]] = {
    "float64": dict.fromkeys(
        ("loss", "norm_before", "norm_after", "clipped", "weights", "predictions", "replicate", "radius"), 1e-10
    ),
    "float32": {"loss": 4e-6, "norm_before": 1.3e-5, "norm_after": 1.3e-5, "weights": 2e-4, "predictions": 7e-5},
}
"""By how much a step may differ from the reference's, relative, in each precision.

In float32 ten times the largest difference between permuted replicates of one framework, which rounding alone makes,
in the rnn, lstm and gru: 3.7e-7 of the loss, 1.3e-6 of the norms, 1.7e-5 of the weights (Adam divides by a root that
may be tiny), 6.5e-6 of the predictions, over 200 steps. A thousandth lies far beyond each. See `ROUNDED` too.
"""

ROUNDED, REPLICATE = 5e-4, "replicate."
"""Where a permuted replicate of the framework differs by more than the bound in the same check in float32, it may too.

By as much, and at most by this, of which a thousandth is twice as much. Seen of the weights of a transformer.
"""

PARTS, WHOLE = "parts", "whole"
"""What is compared besides of an update in parts, in float64: the further figures of a step with the reference's, whose
update is in the same parts; and, where the clip comes after the reduction, all with the update of the whole batch."""

TAME = 1e-12
"""Where a permuted replicate of the reference drifts less than this, a framework must drift less than the bound."""

SCORED = ("last", "some", "every")
"""Which steps a check scores: the last one, some of the last, or every one."""

SEVERAL = 2
"""The layers of the checks with more than one; they stand for every larger number."""

WORST, CERTIFICATE = "worst", "certificate"

Why = Literal["undigested", "unknown", "failed", "unchecked"]
"""Why a row stands under none: it has no digest; no certificate has its digest; a check failed; its kind had none."""

STANDING = ["framework", "framework_version", "device", "path", "kernel", "dtype", "mode", "digest"]
KIND = ["cell", "activation", "initial", "forget_bias", "layers", "optimizer", "clip", "regulariser", "processor"]
KIND += ["decay", "accumulator", "schedule", "replicas", "microbatches", "clip_at"]

CROSSED = {"optimizer": ("sgd", "momentum", "rmsprop", "adam"), "clip": (NONE, "norm", "value")}
"""The optimizers and the clips of which each is checked with each, at both numbers of layers; any other by itself."""


@dataclasses.dataclass(frozen=True)
class Bare:
    """Rows of one framework that stand under no certificate.

    Attributes:
        framework: with its version.
        kernel: the recurrent kernel that ran.
        why: what is missing.
        lacking: of rows whose kind was not checked, the checks that there are none of, each as its facts.
        cases: how many rows.

    """

    framework: str
    kernel: str
    why: Why
    lacking: tuple[tuple[tuple[str, str], ...], ...]
    cases: int


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How many rows stand under a certificate.

    Attributes:
        matched: cases in mode matched.
        certified: those of them that stand under a certificate.
        elsewhere: those of the certified that ran on another processor than the certificate's checks.
        digests: the certificates.
        bare: the cases that stand under none.
        native: cases in mode native, which no certificate is for.

    """

    matched: int
    certified: int
    elsewhere: int
    digests: tuple[str, ...]
    bare: tuple[Bare, ...]
    native: int


def list_bounds(dtype: str, parts: int = 1, clip_at: str = "after") -> dict[str, float]:
    """Return the bounds of a check in a precision, of an update in so many parts; none where there is no such."""
    bounds = dict(BOUNDS.get(dtype, {}))
    if dtype == "float64" and parts > 1:
        bounds |= {PARTS: bounds["loss"]} | ({WHOLE: bounds["loss"]} if clip_at == "after" else {})
    return bounds


def _list_bounds_of(check: CheckResult) -> dict[str, float]:
    parts = check.get("replicas", 1) * check.get("microbatches", 1)
    bounds = list_bounds(check["dtype"], parts, check.get("clip_at", "after"))
    if check["dtype"] != "float32":
        return bounds
    rounded = {name: check["differences"].get(f"{REPLICATE}{name}") or 0.0 for name in bounds}
    return {name: min(max(bound, rounded[name]), max(bound, ROUNDED)) for name, bound in bounds.items()}


def is_within_bounds(check: CheckResult) -> bool:
    """Say whether a check stays within the bounds of its precision; what is missing or not finite never does."""
    found = {name: math.inf if value is None else value for name, value in check["differences"].items()}
    bounds = _list_bounds_of(check)
    if check["fault"] is not None or not bounds:
        return False
    in_step = all(0 <= found.get(name, math.inf) <= bound for name, bound in bounds.items())
    if "drift" not in found:
        return in_step
    return in_step and (found["copy_drift"] >= TAME or found["drift"] <= bounds["loss"])


def list_demands(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what must have been checked for a row: of each check the facts that it must have.

    Not every combination is run: its update (optimizer, clip, layers), its inputs, the steps that are scored, its
    penalty, its schedule, other numbers of its optimizer and how its first weights are drawn are each demanded of its
    cell, and where it ran in float32, its kernel.
    """
    base = {name: row[name] for name in ("cell", "activation", "path", "device")}
    exact, layers = base | {"dtype": "float64"}, {"layers": min(int(row["layers"]), SEVERAL)}
    crossed = {name: {name: row[name]} | layers for name, words in CROSSED.items() if row[name] in words}
    alone = [exact | {name: row[name]} for name in CROSSED if name not in crossed]
    demands = [exact | part for part in crossed.values()] if alone else [exact | crossed["optimizer"] | crossed["clip"]]
    demands += [*alone, exact | {"inputs": "tokens", "optimizer": row["optimizer"]}]
    demands += [exact | {"scored": scored} for scored in SCORED]
    if row["regulariser"] != NONE:
        demands.append(exact | {"regulariser": row["regulariser"]})
    if row["initial"] != "default":
        demands.append(exact | {"initial": row["initial"]})
    if isinstance(row["forget_bias"], float) and not math.isnan(row["forget_bias"]):
        demands.append(exact | {"initial": "forget_bias"})
    if row["schedule"] != "constant":
        demands.append(exact | {"schedule": row["schedule"]})
    if any(isinstance(row[name], float) and row[name] > 0 for name in ("decay", "accumulator")):
        demands.append(exact | {"optimizer": row["optimizer"], "numbers": "other"})
    if row["dtype"] != "float64":
        kernel = base | {"dtype": row["dtype"]}
        if row["regulariser"] in {"omega", "omega2"}:  # on PyTorch they have a kernel of their own
            demands.append(kernel | {"regulariser": row["regulariser"]})
        elif row["clip"] == "backprop":  # as under omega
            demands.append(kernel | {"clip": row["clip"]})
        else:
            demands += [kernel | {"scored": scored} for scored in ("last", "every")]
    return demands


def list_split_demands(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the same for a row whose updates are in parts.

    Two replicas stand for any number, and so do two microbatches. What a part weighs is demanded by checks in which
    the parts count unlike, which are those of several scored steps.
    """
    split = {name: min(int(row[name]), SEVERAL) for name in ("replicas", "microbatches")}
    base = {name: row[name] for name in ("cell", "activation", "path", "device")} | {"replicas": split["replicas"]}
    exact = base | {"dtype": "float64"}
    demands = [exact | {"clip_at": row["clip_at"]} | split, exact | {"clip_at": row["clip_at"], "clip": row["clip"]}]
    if all(row[name] in words for name, words in CROSSED.items()):
        demands.append(exact | {name: row[name] for name in CROSSED})
    demands += [exact | {"optimizer": row["optimizer"]}, exact | {"inputs": "tokens"}]
    demands += [exact | {"scored": scored} for scored in SCORED]
    if row["regulariser"] != NONE:
        demands.append(exact | {"regulariser": row["regulariser"]})
    if row["dtype"] != "float64":
        kernel = base | {"dtype": row["dtype"], "clip_at": row["clip_at"]}
        demands += [kernel | {"scored": scored} for scored in ("last", "every")]
    return demands


def judge_row(row: Mapping[str, Any], held: Mapping[str, Certificate]) -> tuple[Why | None, list[dict[str, Any]]]:
    """Return why a row stands under none of these certificates, None where it does, and the checks that it lacks."""
    if not row["digest"]:
        return "undigested", []
    certificate = held.get(row["digest"])
    if certificate is None:
        return "unknown", []
    lacking = []
    is_split = any(int(row.get(name) or 1) > 1 for name in ("replicas", "microbatches"))
    for demand in list_split_demands(row) if is_split else list_demands(row):
        like: list[Any] = [
            check for check in certificate["checks"] if all(check.get(name) == value for name, value in demand.items())
        ]
        if not all(map(is_within_bounds, like)):
            return "failed", [demand]
        if not like:
            lacking.append(demand)
    return ("unchecked", lacking) if lacking else (None, [])


def list_standing(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each digest in these rows with its framework, path, kernel and mode how many stand under it."""
    lines = _judge_lines(rows)
    lines[CERTIFICATE] = lines["why"].where(lines["why"] != "", "yes").where(lines["mode"] == MATCHED, NONE)
    names = [*STANDING, CERTIFICATE]
    return lines.groupby(names, observed=True)["cases"].sum().reset_index()


def count_certified(rows: pd.DataFrame) -> Coverage:
    """Return how many rows were made by what was held against the reference implementation."""
    lines = _judge_lines(rows)
    matched = lines[lines["mode"] == MATCHED]
    certified, bare = matched[matched["why"] == ""], matched[matched["why"] != ""]
    counts: dict[tuple[str, str, Why, tuple[tuple[tuple[str, str], ...], ...]], int] = {}
    for line in bare.to_dict("records"):
        kind = (f"{line['framework']} {line['framework_version']}", line["kernel"], line["why"], line["lacking"])
        counts[kind] = counts.get(kind, 0) + int(line["cases"])
    return Coverage(
        matched=int(matched["cases"].sum()),
        certified=int(certified["cases"].sum()),
        elsewhere=int(certified.loc[certified["elsewhere"], "cases"].sum()),
        digests=tuple(dict.fromkeys(certified["digest"])),
        bare=tuple(Bare(*kind, cases=cases) for kind, cases in counts.items()),
        native=int(lines.loc[lines["mode"] != MATCHED, "cases"].sum()),
    )


def _judge_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each kind of case in the rows: why it stands under no certificate, and how many cases."""
    held = read_certificates()
    frame = rows.reindex(columns=[*STANDING, *KIND]).astype(object)
    frame = frame.where(frame.notna(), "")
    lines = frame.groupby([*STANDING, *KIND], as_index=False, observed=True).size()
    lines = lines.rename(columns={"size": "cases"})
    found: list[dict[str, Any]] = []
    for line in lines.to_dict("records"):
        row = {str(name): value for name, value in line.items()}
        why, lacking = judge_row(row, held) if row["mode"] == MATCHED else (None, [])
        named = tuple(tuple((name, str(value)) for name, value in demand.items()) for demand in lacking)
        found.append({"why": why or "", "lacking": named})
    lines[["why", "lacking"]] = pd.DataFrame(found, columns=["why", "lacking"], dtype=object)
    lines["elsewhere"] = [
        digest in held and held[digest]["processor"] != processor
        for digest, processor in zip(lines["digest"], lines["processor"], strict=True)
    ]
    return lines


def list_checks(checks: list[CheckResult]) -> pd.DataFrame:
    """Return a row a check, the worst first: what was checked, the largest difference over its bound, and the rest."""
    frame = pd.DataFrame([{**check, **check["differences"]} for check in checks]).drop(columns="differences")
    frame["passed"] = [is_within_bounds(check) for check in checks]
    frame[WORST] = [_find_worst(check) for check in checks]
    return frame.sort_values(["passed", WORST], ascending=[True, False]).reset_index(drop=True)


def _find_worst(check: CheckResult) -> float:
    """Return the largest of a check's differences as a share of its bound."""
    bounds, found = _list_bounds_of(check), check["differences"]
    values = (found.get(name) for name in bounds)
    return max(math.inf if value is None else value / bounds[name] for name, value in zip(bounds, values, strict=True))
