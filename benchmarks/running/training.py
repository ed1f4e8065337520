"""Training one case in this process: from its first weights to its last evaluation, or to its divergence.

The last evaluation comes after all its steps or, until solved, with the third confirmation.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.matrix.recipes import list_initial
from farreach.benchmarks.running.digest import make_digest
from farreach.benchmarks.running.gradient_probe import Observer, count_steps_before, is_due
from farreach.benchmarks.running.messages import Columns, Outcome, Progress
from farreach.frameworks import weights
from farreach.frameworks.base import SKIPPED, Learner, Trace, Weights
from farreach.results.record import CONFIRMATIONS, Result, Times, number
from farreach.results.vocabulary import NONE, SOLVED
from farreach.tasks.base import EVALUATION_BATCH, Array, Batch, Task


class Clock:
    """Wall time by kind; what no kind claims is `other`."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds = dict.fromkeys(("compile", "data", "training", "evaluation", "probes"), 0.0)

    @contextmanager
    def measuring(self, kind: str) -> Iterator[None]:
        """Add the block's wall time to a kind."""
        start = time.perf_counter()
        yield
        self.seconds[kind] += time.perf_counter() - start

    def split(self) -> dict[str, float]:
        """Return the seconds by kind, `other` included."""
        total = time.perf_counter() - self.start
        return self.seconds | {"other": total - sum(self.seconds.values())}


def build(case: Case, **more: object) -> Learner:
    """Return the case's model in its framework: with the weights that every framework starts from, or its own.

    Args:
        case: what is trained.
        more: what its variant takes beside, such as the place of a replica among the others.

    """
    model = case.model()
    facts = (
        {"device": case.device, "dtype": case.dtype, "threads": case.threads, "path": case.path} | case.options | more
    )
    folder = f"farreach.frameworks.{case.framework}"
    if case.mode == registry.NATIVE:
        module = importlib.import_module(f"{folder}.native")
        return module.Native(model, case.training(), case.seed, **facts)  # type: ignore[no-any-return]
    initial = weights.permute_hidden(model, weights.draw(model, case.seed, **list_initial(case)), case.replicate)
    module = importlib.import_module(f"{folder}.{case.variant}" if case.variant else folder)
    return module.Framework(model, case.training(), initial, **facts)  # type: ignore[no-any-return]


def draw_chunks(task: Task, case: Case) -> Iterator[list[Batch]]:
    """Yield the training batches, `evaluate_every` at a time."""
    stream = task.batches(case.seed, case.batch)
    for _ in range(case.steps // case.evaluate_every):
        yield list(itertools.islice(stream, case.evaluate_every))


def train(case: Case, progress: Callable[[Progress], None], find: Callable[[Case], Learner] | None = None) -> Outcome:
    """Train one case, whom `find` or `build` returns, from its first weights to its last evaluation or divergence."""
    clock = Clock()
    with clock.measuring("data"):
        task = case.load()
        shape = shape_evaluation(task.evaluation())
        observer = Observer(None if case.mode == registry.NATIVE else case.framework, task, case.model())
        stream = draw_chunks(task, case)
        chunk = next(stream)
    framework = (find or build)(case)
    with clock.measuring("compile"):
        framework.prepare(chunk, shape)
        observer.prepare(framework)
    traces: list[Trace] = []
    evaluations: list[dict[str, float]] = []
    cpu = 0.0
    done = 0
    first = framework.weights()
    with clock.measuring("probes"):
        observer.look(framework, done)
    while True:
        before = time.process_time()
        with clock.measuring("training"):
            traces.append(framework.train(chunk))
        cpu += time.process_time() - before
        done += len(chunk)
        if find_divergence(traces) is not None:
            break
        with clock.measuring("evaluation"):
            last = done == case.steps
            evaluations.append({"step": done} | task.evaluate(framework.predict, thorough=last))
            if case.until == SOLVED and not last and find_solved_step(task, evaluations) is not None:
                last = True  # what is slow is measured at the end alone, which nobody knew before
                evaluations[-1] |= task.evaluate(framework.predict, thorough=True)
        if is_due(done, last=last):
            with clock.measuring("probes"):
                observer.look(framework, done)
        progress(describe_progress(task, done, traces[-1], evaluations))
        if last:
            break
        with clock.measuring("data"):
            chunk = next(stream)
    final = framework.weights()
    return Outcome(
        result=make_result(task, case, traces, evaluations, first=first, final=final),
        times=Times(
            step_seconds=float(np.median([trace.seconds / len(trace.loss) for trace in traces])),
            cpu_to_wall=cpu / clock.seconds["training"],
            **{f"seconds_{kind}": seconds for kind, seconds in clock.split().items()},
        ),
        kernel=framework.kernel,
        digest=make_digest(case, framework.kernel),
        curves=join_curves(traces),
        evaluations=evaluations,
        flow=observer.flow,
        spectra=observer.spectra,
    )


def describe_progress(task: Task, done: int, trace: Trace, evaluations: list[dict[str, float]]) -> Progress:
    """Return how far a case is after `done` steps, of which `trace` holds the last."""
    loss, norm = number(float(trace.loss[-1])), number(float(trace.norm_before[-1]))
    return Progress(done, loss, norm, solved=find_solved_step(task, evaluations) is not None)


def join_curves(traces: list[Trace]) -> Columns:
    """Return the per-step curves: step (from 1), loss, norms before and after, share clipped, and what is extra."""
    names = ("loss", "norm_before", "norm_after", "clipped")
    joined = {name: np.concatenate([getattr(trace, name) for trace in traces]) for name in names}
    joined |= {name: np.concatenate([trace.extra[name] for trace in traces]) for name in traces[0].extra}
    steps = range(1, len(joined["loss"]) + 1)
    return {"step": list(steps)} | {name: values.tolist() for name, values in joined.items()}


def find_divergence(traces: list[Trace]) -> int | None:
    """Return the first step (from 1) whose loss or gradient norm is not finite and that no loss scaler left out."""
    finite = np.concatenate(
        [np.isfinite(trace.loss) & (np.isfinite(trace.norm_before) | find_skipped(trace)) for trace in traces]
    )
    return None if finite.all() else int(np.argmin(finite)) + 1


def find_skipped(trace: Trace) -> Array:
    """Return which steps of a trace a loss scaler left out, [steps] of bool."""
    return trace.extra.get(SKIPPED, np.zeros(len(trace.loss))) > 0


def find_solved_step(task: Task, evaluations: list[dict[str, float]]) -> int | None:
    """Return the step of the first of three consecutive evaluations that meet the criterion."""
    met = [bool(task.solved(metrics)) for metrics in evaluations]
    for at in range(len(met) - CONFIRMATIONS + 1):
        if all(met[at : at + CONFIRMATIONS]):
            return int(evaluations[at]["step"])
    return None


def measure_move(first: Weights, last: Weights) -> float:
    """Return how far the weights went: the L2 norm of last - first over that of first, over all of them."""
    way = sum(np.square(last[name] - start, dtype=np.float64).sum() for name, start in first.items())
    return float(np.sqrt(way / sum(np.square(start, dtype=np.float64).sum() for start in first.values())))


def find_scale_median(traces: list[Trace]) -> float | None:
    """Return the median over steps of the norm after the clip over the norm before it; None without a gradient."""
    before, after = (
        np.concatenate([getattr(trace, f"norm_{when}") for trace in traces]) for when in ("before", "after")
    )
    there = np.isfinite(before) & (before > 0)
    return float(np.median(after[there] / before[there])) if there.any() else None


def find_late_gain(losses: Array) -> float | None:
    """Return by how much the mean training loss of the last third lies below that of the middle third."""
    third = len(losses) // 3
    return float(losses[third : 2 * third].mean() - losses[2 * third :].mean()) if third else None


def make_result(
    task: Task,
    case: Case,
    traces: list[Trace],
    evaluations: list[dict[str, float]],
    *,
    first: Weights,
    final: Weights,
) -> Result:
    """Return what the record says of a run, from its traces, evaluations and weights alone."""
    diverged = find_divergence(traces)
    # The diverging step and all after it have no gradient, so nothing that the clip could change.
    lived = slice(None, None if diverged is None else diverged - 1)
    # Nor has a step that a loss scaler left out, though training goes on from it.
    skipped = np.concatenate([find_skipped(trace) for trace in traces])[lived]
    norms = np.concatenate([trace.norm_before for trace in traces])[lived][~skipped]
    clipped = np.concatenate([trace.clipped for trace in traces])[lived][~skipped]
    clips = case.clip != NONE and len(clipped) > 0
    last = {} if diverged or not evaluations else evaluations[-1]
    has_criterion = task.solved({"loss": np.inf, task.metric: -np.inf}) is not None
    solved_at = find_solved_step(task, evaluations)
    return Result(
        task_version=type(task).version,
        metric_version=type(task).metric_version,
        status="finished" if diverged is None else "diverged",
        diverged_at=diverged,
        loss=number(last.get("loss")),
        floor=task.floor,
        unit=task.unit,
        metric=task.metric,
        score=number(last.get(task.metric)),
        solved=(solved_at is not None and diverged is None) if has_criterion else None,
        steps_to_solve=solved_at if diverged is None else None,
        clip_fraction=float((clipped > 0).mean()) if clips else 0.0,
        clipped_elements=float(clipped.mean()) if clips else 0.0,
        norm_before_median=number(float(np.median(norms))) if len(norms) else None,
        norm_before_max=number(float(norms.max())) if len(norms) else None,
        scale_median=None if case.clip in {NONE, "backprop"} else find_scale_median(traces),
        gain_late=number(find_late_gain(np.concatenate([trace.loss for trace in traces])[lived])),
        steps_done=sum(len(trace.loss) for trace in traces),
        steps_skipped=int(skipped.sum()) if SKIPPED in traces[0].extra else None,
        metrics={name: number(value) for name, value in last.items() if name not in {"step", "loss"}},
        steps_before=count_steps_before(task),
        moved=number(measure_move(first, final)),
        weights_sha256=weights.digest(final),
    )


def shape_evaluation(batch: Batch) -> Array:
    """Return inputs of the shape that every evaluation call has: `EVALUATION_BATCH` rows."""
    return np.resize(batch.inputs, (EVALUATION_BATCH, *batch.inputs.shape[1:]))
