"""How a batch is divided into parts, and what each weighs."""

from __future__ import annotations

import numpy as np
import pytest

from farreach.frameworks.split import Split, split_batch, weigh_parts
from farreach.tasks.base import Batch


def make_batch(mask: list[list[float]]) -> Batch:
    """Return a batch whose inputs number the rows."""
    rows = len(mask)
    return Batch(np.arange(rows)[:, None, None] * np.ones((1, 3, 2)), np.arange(rows)[:, None], np.array(mask))


def test_rows_go_in_order_to_the_parts_of_the_first_replica_then_of_the_next() -> None:
    batch = make_batch([[1.0]] * 8)
    parts = split_batch(batch, Split(replicas=2, microbatches=2))
    assert [part.targets[:, 0].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert all((part.inputs[:, 0, 0] == part.targets[:, 0]).all() for part in parts)


@pytest.mark.parametrize(("replicas", "microbatches"), [(2, 1), (1, 2)])
def test_a_part_weighs_as_much_as_it_counts_of_the_whole(replicas: int, microbatches: int) -> None:
    batch = make_batch([[1, 1], [1, 0], [0, 1], [0, 0]])
    assert weigh_parts(batch, Split(replicas, microbatches)).tolist() == [0.75, 0.25]


def test_the_weighted_losses_of_the_parts_are_the_loss_of_the_batch_and_their_mean_is_not() -> None:
    random = np.random.default_rng(0)
    losses, mask = random.random((4, 3)), np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], float)
    batch, split = make_batch(mask.tolist()), Split(microbatches=2)
    means = [(losses[rows] * mask[rows]).sum() / mask[rows].sum() for rows in (slice(0, 2), slice(2, 4))]
    whole = (losses * mask).sum() / mask.sum()
    assert weigh_parts(batch, split) @ means == pytest.approx(whole, rel=1e-12)
    assert abs(np.mean(means) - whole) > 1e-3


def test_the_further_figures_are_named_one_for_each_part() -> None:
    assert Split(2, 2).parts == 4
    assert Split(2, 2).extra == ("norm_reduced", "cosine", "norm_part0", "norm_part1", "norm_part2", "norm_part3")
