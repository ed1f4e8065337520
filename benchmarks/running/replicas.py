"""A case that several replicas train: what the loop that trains holds in their stead.

`Replicated` is a learner like any other. Its updates are the group's; it predicts, and the gradient through time is
measured, by a plain `Framework` in this process that takes the group's state when it is asked.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from farreach.benchmarks.matrix.case import Case, Lane
from farreach.benchmarks.running.messages import Outcome, Progress
from farreach.benchmarks.running.replica_group import GroupError, ReplicaGroup
from farreach.benchmarks.running.replica_messages import Drop, Make, Prepare, Read, Restore, Train, Trained
from farreach.benchmarks.running.training import build, train
from farreach.frameworks.base import Array, Framework, Learner, State, Trace, Weights
from farreach.tasks.base import Batch

_GROUPS: dict[tuple[Lane, int], ReplicaGroup] = {}
"""The group of this process by its lane and its size: one at most, which waits for the next case of them."""


class Replicated:
    """A model that a group trains, and a plain copy of it in this process.

    Attributes:
        cpu: processor seconds that the replicas spent on training, all together.

    """

    def __init__(self, group: ReplicaGroup, make: Callable[..., Any], local: Framework) -> None:
        self.group, self.local, self.model = group, local, local.model
        self.number = next(group.numbers)
        self.cpu = 0.0
        if group.is_alive and self.number > KEPT:
            group.ask(Drop((self.number - KEPT - 1,)))
        self.kernel: str = group.ask(Make(self.number, make))[0]
        self.held: State | None = local.state()

    def prepare(self, batches: Sequence[Batch], inputs: Array) -> float:
        """Compile in every replica, and here what predicts."""
        start = time.perf_counter()
        self.group.ask(Prepare(self.number, batches, inputs))
        self.local.predict(inputs)
        return time.perf_counter() - start

    def train(self, batches: Sequence[Batch]) -> Trace:
        """Have the group do one update per batch; the seconds are those of the slowest replica.

        Raises:
            GroupError: a replica died, or the replicas no longer agree.

        """
        answers: list[Trained] = self.group.ask(Train(self.number, batches))
        first, *others = answers
        if np.isfinite(first.trace.loss).all() and any(not _is_same(first, one) for one in others):
            self.group.stop()
            message = "the replicas do not agree: after the same updates their weights or their figures differ"
            raise GroupError(message)
        self.cpu += sum(one.cpu for one in answers)
        self.held = None
        return dataclasses.replace(first.trace, seconds=max(one.trace.seconds for one in answers))

    def predict(self, inputs: Array) -> Array:
        """Return the scores of inputs."""
        self.state()
        return self.local.predict(inputs)

    def weights(self) -> Weights:
        """Return a copy of the weights."""
        return {name: value.copy() for name, value in self.state().weights.items()}

    def state(self) -> State:
        """Return weights, slots and the number of updates."""
        return self._take_state(self.group.ask(Read(self.number))[0]) if self.held is None else self.held

    def restore(self, state: State) -> None:
        """Have every replica go on from this state."""
        self.group.ask(Restore(self.number, state))
        self._take_state(state)

    def _take_state(self, state: State) -> State:
        self.held = state
        self.local.restore(state)
        return state

    def __getattr__(self, name: str) -> Any:
        """Return what the gradient through time is measured by: tensors and networks of the plain copy."""
        if name == "local":  # not there yet
            raise AttributeError(name)
        self.state()
        return getattr(self.local, name)


KEPT = 2
"""Models that replicas hold beside a new one; a check has three at a time."""


def find_group(lane: Lane, count: int) -> ReplicaGroup:
    """Return the group of a lane, which is kept for the next one that asks; a group of any other is ended."""
    if (lane, count) not in _GROUPS:
        end_groups()
        framework, device, threads, _ = lane
        _GROUPS[lane, count] = ReplicaGroup(framework, device, threads, count)
    return _GROUPS[lane, count]


def end_groups() -> None:
    """End the processes of the group that waits for the next case."""
    while _GROUPS:
        _GROUPS.popitem()[1].stop()


def build_replicated(kind: Any, lane: Lane, make: Callable[..., Any]) -> Replicated:
    """Return what trains a case of several replicas, or stands for one in a check.

    Args:
        kind: the case or check, a data class.
        lane: whose group it takes.
        make: makes the learner of a kind in the process that calls it, in a replica with the place of that.

    """
    alone = dataclasses.replace(kind, replicas=1, microbatches=1, clip_at="after")
    return Replicated(find_group(lane, kind.replicas), functools.partial(make, kind), make(alone))


def find_learner(case: Case) -> Learner:
    """Return what trains a case: a group where it has several replicas, else its framework in this process."""
    return build(case) if case.replicas == 1 else build_replicated(case, case.lane, build)


def train_case(case: Case, progress: Callable[[Progress], None]) -> Outcome:
    """Train one case, by a group of replicas where it has several, whose processor time is that of all processes.

    Where a learner has measured what its products are of, the answer says so.
    """
    made: list[Learner] = []

    def find(asked: Case) -> Learner:
        made.append(find_learner(asked))
        return made[0]

    outcome = train(case, progress, find)
    outcome = dataclasses.replace(outcome, precision=getattr(made[0], "precision", ""))
    if not isinstance(made[0], Replicated):
        return outcome
    spent = outcome.times.cpu_to_wall + made[0].cpu / outcome.times.seconds_training
    return dataclasses.replace(outcome, times=dataclasses.replace(outcome.times, cpu_to_wall=spent))


def _is_same(one: Trained, other: Trained) -> bool:
    """Say whether two replicas have the same weights, and said the same of every step."""
    named = ("loss", "norm_before", "norm_after", "clipped")
    figures = [(getattr(one.trace, name), getattr(other.trace, name)) for name in named]
    return one.digest == other.digest and all(np.array_equal(a, b, equal_nan=True) for a, b in figures)
