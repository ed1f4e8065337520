"""What the frameworks' own clips do, against what was measured when this was written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies import clip_semantics

EXPECTED: dict[str, dict[str, Any]] = {
    "torch.nn.utils.clip_grad_norm_": {
        "scope": "global",
        "one +Inf": "[nan, 0, 0]",
        "one NaN": "[nan, nan, nan]",
        "squares overflow": "[0, 0, 0]",
        "zero gradient": "[0, 0, 0]",
    },
    "torch.nn.utils.clip_grad_value_": {"scope": "per element", "one +Inf": "[1, 1, 1]", "one NaN": "[nan, 1, 1]"},
    "tf.clip_by_global_norm": {
        "scope": "global",
        "one +Inf": "[nan, nan, nan]",
        "squares overflow": "[nan, nan, nan]",
        "at the threshold": "left alone",
    },
    "tf.clip_by_norm": {"scope": "per variable"},
    "tf.clip_by_value": {"scope": "per element"},
    "keras optimizer, global_clipnorm": {"scope": "global"},
    "keras optimizer, clipnorm": {"scope": "per variable"},
    "keras optimizer, clipvalue": {"scope": "per element"},
    "optax.clip_by_global_norm": {"scope": "global", "one +Inf": "[nan, 0, 0]", "squares overflow": "[0, 0, 0]"},
    "optax.clip": {"scope": "per element"},
}


@pytest.mark.parametrize("framework", registry.list_installed())
def test_the_frameworks_own_clips_do_what_was_measured(framework: str) -> None:
    rows = {row["function"]: row for row in clip_semantics.probe_clips(framework)}
    known = {name: facts for name, facts in EXPECTED.items() if name in rows}
    assert known
    for name, facts in known.items():
        assert {fact: rows[name][fact] for fact in facts} == facts, name
    assert all(row["no gradient yet"] for row in rows.values())


def test_scope_and_epsilon_are_read_off_the_numbers() -> None:
    def exact(gradients: list[Any], threshold: float) -> list[Any]:
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
        return [gradient * min(1, threshold / norm) for gradient in gradients]

    def each(gradients: list[Any], threshold: float) -> list[Any]:
        return [exact([gradient], threshold)[0] for gradient in gradients]

    assert clip_semantics.find_scope(exact) == "global"
    assert clip_semantics.find_scope(each) == "per variable"
    assert clip_semantics.find_scope(lambda gradients, c: [g.clip(-c, c) for g in gradients]) == "per element"
    assert clip_semantics.find_scope(lambda gradients, _: [g[::-1] for g in gradients]) == "other"
    assert abs(float(clip_semantics.measure_excess(exact))) < 1e-6
    assert float(clip_semantics.measure_excess(lambda gradients, _: [gradients[0] / 4])) == pytest.approx(-0.5)
    assert clip_semantics.describe_change(lambda gradients, _: gradients, [0.6, 0.8]) == "left alone"
    assert clip_semantics.describe_change(lambda gradients, _: [gradients[0] / 2], [0.6, 0.8]) == "changed by 5.0e-01"
