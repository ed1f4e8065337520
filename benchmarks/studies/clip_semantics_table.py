"""The page of what silently differs: the frameworks' own clips, each asked in a process of its own, and an epsilon."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.worker_client import CaseFailedError, Live, StartError
from farreach.benchmarks.studies import epsilon, update_semantics
from farreach.benchmarks.studies.messages import Clips, ProbeClips
from farreach.results.report import markdown


def make_table(logs: Path) -> str:
    """Return the page as Markdown; raise `UsageError` where a framework cannot be asked, or none is installed."""
    rows, counterparts = [], []
    frameworks = registry.require_any()
    for framework in frameworks:
        if registry.has_part(framework, "own_clips"):
            worker = Live(framework, "cpu", 1, logs / f"{framework}.log")
            try:
                answer = worker.ask(ProbeClips(framework), Clips)
                rows += answer.rows
                counterparts += answer.counterparts
            except (CaseFailedError, StartError) as error:
                message = f"{framework} did not answer: {error}"
                raise registry.UsageError(message) from error
            finally:
                worker.stop()
    asked = sorted({need for row in rows for need in registry.list_needs(row["framework"])} | {"keras"})
    versions = ", ".join(f"{name} {registry.find_version(name)}" for name in asked if registry.find_version(name))
    return (
        "# What a clip at threshold 1 does in the frameworks' own functions\n\n"
        f"Made by `python -m benchmarks semantics` from live calls, float32, CPU: {versions}. "
        "*excess* is the norm after the clip of a gradient of norm 2, minus 1: an epsilon shows there. "
        "*no gradient yet* is a gradient of None, as PyTorch and TensorFlow have it before `backward` and of a "
        "variable that the loss does not depend on; `jax.grad` gives zeros there.\n\n"
        + markdown.table(pd.DataFrame(rows))
        + "\n## Clips of each variable and of each unit, beside ours\n\n"
        "Normal weights and gradients, float32, threshold 0.1; [our clips](../../docs/thresholds.md#the-clips). "
        "Where a function does another thing, the distance of the clipped gradients tells by how much.\n\n"
        + (markdown.table(pd.DataFrame(counterparts)) if counterparts else "No framework here has one.\n")
        + _make_updates(frameworks, logs)
        + f"\n## {epsilon.TITLE}\n\n{epsilon.SENTENCE}\n\n"
        + markdown.table(epsilon.measure_epsilons())
    )


def _make_updates(frameworks: list[str], logs: Path) -> str:
    tables = update_semantics.make_tables(update_semantics.measure_updates(frameworks, logs))
    if not tables:
        return ""
    return (
        "\n## Updates in parts: what reaches the optimizer\n\n"
        "One dense layer, two inputs, one output, all zeros, plain gradient descent at learning rate 1, threshold 1: "
        "minus the weights after one update are the gradient that reached the optimizer (kernel, kernel, bias). "
        "*one process* is the gradient of the whole batch, clipped once. Processes are real and talk over 127.0.0.1; "
        "a MirroredStrategy or a shard_map of one process has two devices of the same processor. "
        "[The right loops](../../docs/clipping.md) are written out.\n"
        + "".join(f"\n### {heading}\n\n{markdown.table(table)}" for heading, table in tables.items())
    )
