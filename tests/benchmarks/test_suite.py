"""Suites: what a file may say, what it expands to, how it is narrowed, and how faults are told."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.frameworks.base import Regulariser
from farreach.frameworks.layouts import LAYOUTS
from farreach.frameworks.schedule import Schedule
from farreach.results.record import BELONGS_TO
from farreach.results.storage.columns import COLUMNS

NATIVE = {"adding", "copy", "speech", "translation"}
"""The tasks of the native suite."""

GOOD = """
description = "a suite"
[defaults]
framework = ["pytorch", "tensorflow"]
cell = ["rnn", "lstm"]
[[block]]
task = "adding"
parameters = { T = [10, 20] }
clip = [{ kind = "none" }, { kind = "norm", threshold = [0.1, 1] }]
steps = 200
seed = [0, 1]
"""


def write_suite(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def expand_suite(folder: Path, text: str = GOOD) -> list[Case]:
    return suite.load_suite(write_suite(folder, text)).list_cases()


def test_every_field_of_a_block_reaches_its_cases() -> None:
    """A field that `ORDER` does not name would be read, and dropped in silence."""
    assert {*suite.Block.model_fields} - {"draw", "evaluate_every", "path"} == {*suite.ORDER}


def test_a_block_is_the_product_of_its_axes(tmp_path: Path) -> None:
    cases = expand_suite(tmp_path)
    assert len(cases) == 2 * 2 * 2 * 3 * 2
    assert len({case.key() for case in cases}) == len(cases)
    assert {case.threshold for case in cases} == {None, 0.1, 1.0}


def test_a_block_that_expands_to_too_many_cases_is_refused_before_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = GOOD.replace("seed = [0, 1]", f"seed = {list(range(1_000))}\nreplicate = {list(range(1_000))}")
    with pytest.raises(registry.UsageError, match=r"^the suite expands to 24,000,000 cases; the limit is 100,000$"):
        expand_suite(tmp_path, many)
    monkeypatch.setattr(suite, "MOST_CASES", 48)
    assert len(expand_suite(tmp_path)) == 48
    monkeypatch.setattr(suite, "MOST_CASES", 47)
    with pytest.raises(registry.UsageError, match=r"^the suite expands to 48 cases; the limit is 47$"):
        expand_suite(tmp_path)


def test_a_case_in_two_blocks_is_one_case(tmp_path: Path) -> None:
    again = GOOD + '[[block]]\ntask = "adding"\nparameters = { T = 10 }\nsteps = 200\n'
    assert len(expand_suite(tmp_path, again)) == len(expand_suite(tmp_path))


def test_a_case_survives_json(tmp_path: Path) -> None:
    for case in expand_suite(tmp_path):
        assert Case.from_json(case.to_json()) == case
        assert hash(Case.from_json(case.to_json())) == hash(case)


def test_the_key_changes_with_everything_that_can_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = expand_suite(tmp_path)[0]
    keys = {case.key()}
    fields = case.to_json()
    for change in ({"seed": 7}, {"threads": 2}, {"learning_rate": 1e-3}, {"parameters": {"T": 11}}, {"hidden": 3}):
        keys.add(Case.from_json(fields | change).key())
    monkeypatch.setattr("farreach.benchmarks.matrix.registry.find_framework_version", lambda _: "0.0")
    keys.add(case.key())
    assert len(keys) == 7


def test_a_key_is_hashed_with_the_first_name_of_a_field_that_was_renamed(tmp_path: Path) -> None:
    case = dataclasses.replace(expand_suite(tmp_path)[0], replicate=2)
    assert case.identity()["renumbering"] == 2
    assert "replicate" not in case.identity()
    text = json.dumps(case.identity(), sort_keys=True)
    assert case.key() == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", registry.list_suites())
def test_every_shipped_suite_expands(name: str) -> None:
    cases = suite.load_suite(name).list_cases()
    tasks = {
        "quick": {"adding", "copy", "order", "speech", "translation"},
        "native": NATIVE,
        "nightly": {"adding", "copy", "order", "speech", "translation"},
        "reach": {"adding", "copy", "speech"},
        "pascanu": {"order"},
        "scaling": {"adding"},
        "speed": {"adding"},
        "recipes": {"adding", "copy", "digits", "speech", "translation"},
        "overhead": {"adding", "copy"},
        "atlas-length": {"adding", "order", "copy", "digits"},
        "atlas-clip": {"adding", "order"},
        "atlas-regularisers": {"adding", "order"},
        "atlas-optimizers": {"adding", "order"},
        "atlas-depth": {"adding", "order", "digits"},
        "tuning": {"adding", "order", "digits"},
        "beyond": {"adding", "order", "copy", "speech"},
        "architectures": {"adding", "selective_copy", "translation", "recall"},
        "precision": {"adding", "order"},
        "replicas": {"adding", "copy", "order"},
    }
    assert {case.task for case in cases} == tasks.get(name, set(registry.list_tasks()))
    cells = {"pascanu": {"rnn"}, "atlas-regularisers": {"rnn"}, "replicas": {"rnn"}}
    cells |= {"atlas-optimizers": {"rnn", "gru"}, "overhead": {*LAYOUTS} - {"gru"}}
    cells["architectures"] = {"rnn", "lstm", "gru", "mingru", "lru", "attention", "transformer"}
    cells["precision"] = {"rnn", "minlstm"}
    assert {case.cell for case in cases} == cells.get(name, {"rnn", "lstm", "gru"})


def test_quick_has_five_seeds_of_everything_and_declares_seven_contrasts() -> None:
    quick = suite.load_suite("quick")
    cases = quick.list_cases(["pytorch", "tensorflow"])
    seeds: dict[Case, set[int]] = {}
    for case in cases:
        seeds.setdefault(dataclasses.replace(case, seed=0), set()).add(case.seed)
    assert set(map(frozenset, seeds.values())) == {frozenset(range(5))}
    sides = {case: said for case, said in quick.expand(["pytorch", "tensorflow"]).items() if said}
    for framework, replicate in (("pytorch", 0), ("tensorflow", 0), ("tensorflow", 1)):
        ran = [(case.task, case.parameters, side["contrast"], side["side"]) for case, side in sides.items()
               if (case.framework, case.replicate) == (framework, replicate)]  # fmt: skip
        assert len(ran) == 7 * 2 * 5
        assert len(set(ran)) == 7 * 2
    assert {case.replicate for case in cases if case.framework == "pytorch"} == {0}
    assert len(quick.list_cases(["jax"])) == 85 + 70  # its own, and the replicates of TensorFlow
    assert {case.threshold for case in cases if case.task == "order"} == {None, 0.01, 0.1, 1.0, 10.0}


def test_nightly_has_five_seeds_of_everything_and_a_contrast_of_each_task() -> None:
    frameworks = ["pytorch", "tensorflow", "jax"]
    cases = suite.load_suite("nightly").expand(frameworks)
    assert {(case.framework, case.seed) for case in cases} == set(itertools.product(frameworks, range(5)))
    assert len({dataclasses.replace(case, seed=0) for case in cases}) * 5 == len(cases)
    for copies in (False, True):
        declared = {
            (case.task, case.parameters) for case, said in cases.items() if said and bool(case.replicate) >= copies
        }
        assert declared == {(case.task, case.parameters) for case in cases}


CONTRASTED = (
    GOOD.replace("seed = [0, 1]", "seed = [0, 1, 2, 3, 4]")
    + """
[[contrast]]
on = { T = 10, cell = "rnn" }
between = [{ clip = "norm", threshold = 1 }, { clip = "none" }]
outcome = "solved"
"""
)


def test_a_contrast_names_the_cases_on_both_of_its_sides(tmp_path: Path) -> None:
    mine = suite.load_suite(write_suite(tmp_path, CONTRASTED))
    sides = {case: said for case, said in mine.expand().items() if said}
    assert len(sides) == 2 * 2 * 5
    for case, said in sides.items():
        assert (case.cell, case.parameters) == ("rnn", (("T", 10),))
        assert said == {"contrast": "solved", "side": 1 if case.threshold == 1 else 2}
    assert not any(suite.load_suite(write_suite(tmp_path, GOOD)).expand().values())


SECOND = """
[[contrast]]
on = { T = 10, cell = "lstm" }
between = [{ threshold = 1 }, { clip = "none" }]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "threshold = 1 }",
            "threshold = 3 }",
            "contrast.0: no case of the suite has T=10 cell=rnn clip=norm threshold=3",
        ),
        (
            ", threshold = 1 }",
            " }",
            "contrast.0: T=10 cell=rnn clip=norm is several settings, which differ in threshold;",
        ),
        ('clip = "none" }', "threshold = 1 }", "contrast.0: both sides are the same setting"),
        (
            'clip = "none" }',
            'colour = "red" }',
            "contrast.0: unknown key 'colour'; allowed: T, accumulator, activation, ",
        ),
        (
            "on = { T = 10, ",
            "on = { ",
            "contrast.0: cell=rnn clip=norm threshold=1 is several settings, which differ in T;",
        ),
        ('"solved"', '"solved"\nlevel = 0.1', "unknown key contrast.0.level; allowed: on, between, outcome"),
        ('"solved"', '"loss"', "contrast.0.outcome: Input should be 'solved', 'diverged' or 'metric', not 'loss'"),
        (', { clip = "none" }]', "]", "contrast.0.between: List should have at least 2 items after validation, not 1"),
        (
            "[0, 1, 2, 3, 4]",
            "[0, 1, 2, 3]",
            "contrast.0: T=10 cell=rnn clip=norm threshold=1 has 4 seeds; a test needs 5",
        ),
        ('outcome = "solved"\n', SECOND, "contrast.1: contrast.0 is about adding T=10 already; each has one at most"),
        (
            '"adding"\nparameters = { T = [10, 20] }',
            '"translation"\nparameters = { longest = [10, 20] }',
            "contrast.0: unknown key 'T'; allowed: ",
        ),
    ],
)
def test_a_faulty_contrast_is_refused_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in CONTRASTED
    with pytest.raises(registry.UsageError) as fault:
        expand_suite(tmp_path, CONTRASTED.replace(old, new))
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_contrast_of_solved_seeds_needs_a_criterion(tmp_path: Path) -> None:
    text = CONTRASTED.replace("parameters = { T = [10, 20] }", "parameters = { longest = [10, 20] }")
    text = text.replace('"adding"', '"translation"').replace("on = { T = 10", "on = { longest = 10")
    with pytest.raises(
        registry.UsageError, match="task translation has no criterion, so outcome is diverged or metric"
    ):
        expand_suite(tmp_path, text)
    assert expand_suite(tmp_path, text.replace('"solved"', '"metric"'))


@pytest.mark.parametrize(
    ("only", "count"),
    [
        (["cell=lstm"], 24),
        (["cell=lstm", "framework=pytorch"], 12),
        (["threshold=0.10"], 16),
        (["threshold=0.1", "threshold=1"], 32),
        (["clip=none"], 16),
        (["T=10", "seed=1", "clip=norm"], 8 * 2 // 2),
    ],
)
def test_only_narrows(tmp_path: Path, only: list[str], count: int) -> None:
    assert len(suite.narrow_cases(expand_suite(tmp_path), only, "mine")) == count


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("task=foo", "unknown task 'foo'; allowed: adding, copy, digits, multiplication, order, recall, "),
        ("framework=caffe", f"unknown framework 'caffe'; allowed: {', '.join(registry.list_frameworks())}"),
        ("cell=foo", "suite mine has no case with cell=foo; it has: lstm, rnn"),
        ("task=copy", "suite mine has no case with task=copy; it has: adding"),
        ("seeds=1", "unknown key 'seeds'; allowed: "),
        ("seed", "--only takes KEY=VALUE, not 'seed'"),
        ("threshold=0", "threshold must be a positive finite number, not 0"),
        ("threshold=-1", "threshold must be a positive finite number, not -1"),
        ("threshold=nan", "threshold must be a positive finite number, not nan"),
        ("threshold=inf", "threshold must be a positive finite number, not inf"),
        ("threshold=big", "threshold must be a positive finite number, not big"),
        ("threshold=3", "suite mine has no case with threshold=3; it has: 0.1, 1"),
        ("strength=0", "strength must be a positive finite number, not 0"),
        ("strength=-1e-4", "strength must be a positive finite number, not -1e-4"),
        ("strength=nan", "strength must be a positive finite number, not nan"),
        ("strength=inf", "strength must be a positive finite number, not inf"),
        ("strength=weak", "strength must be a positive finite number, not weak"),
        ("regulariser=l3", "suite mine has no case with regulariser=l3; it has: none"),
    ],
)
def test_what_only_cannot_mean_is_refused(tmp_path: Path, only: str, said: str) -> None:
    with pytest.raises(registry.UsageError) as fault:
        suite.narrow_cases(expand_suite(tmp_path), [only], "mine")
    assert str(fault.value).startswith(said)
    assert "\n" not in str(fault.value)


def test_a_threshold_with_clip_none_is_a_contradiction(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="clip none takes no threshold"):
        suite.narrow_cases(expand_suite(tmp_path), ["clip=none", "threshold=1"], "mine")


def test_a_strength_with_regulariser_none_is_a_contradiction(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="regulariser none takes no strength"):
        suite.narrow_cases(expand_suite(tmp_path), ["regulariser=none", "strength=1"], "mine")


PENALISED = (
    GOOD + 'regulariser = [{ kind = "none" }, { kind = "l1", strength = 1e-5 }, { kind = "l2", strength = [1e-4, 1] }]'
)


def test_regularisers_are_an_axis_with_ladders_of_their_own(tmp_path: Path) -> None:
    cases = expand_suite(tmp_path, PENALISED)
    rungs = {("none", None), ("l1", 1e-5), ("l2", 1e-4), ("l2", 1.0)}
    assert {(case.regulariser, case.strength) for case in cases} == rungs
    assert len(cases) == len(rungs) * len(expand_suite(tmp_path))
    assert len({case.key() for case in cases}) == len({case.label() for case in cases}) == len(cases)
    assert all(Case.from_json(case.to_json()) == case for case in cases)
    assert len(suite.narrow_cases(cases, ["regulariser=l2", "strength=0.0001"], "mine")) == len(expand_suite(tmp_path))


STARTED = GOOD.replace('["rnn", "lstm"]', '"lstm"')
CHRONO = STARTED + 'initial = "chrono"\nchrono_length = [20, 40]\nuntil = ["steps", "solved"]\n'


def test_the_first_weights_and_the_end_of_training_are_axes(tmp_path: Path) -> None:
    plain, chrono = expand_suite(tmp_path, STARTED), expand_suite(tmp_path, CHRONO)
    biased = expand_suite(tmp_path, STARTED + "forget_bias = [-1.5, 0, 1, 5]\n")
    assert (len(chrono), len(biased)) == (4 * len(plain), 4 * len(plain))
    assert {(case.initial, case.chrono_length, case.until) for case in chrono} == {
        ("chrono", length, until) for length in (20, 40) for until in ("steps", "solved")
    }
    everything = {*plain, *chrono, *biased}
    assert len({case.key() for case in everything}) == len({case.label() for case in everything}) == len(everything)
    assert any(" lstm chrono 20 clip " in case.label() for case in chrono)
    assert any(" lstm forget bias -1.5 clip " in case.label() for case in biased)
    assert {*plain} <= {*biased}, "a forget_bias of 1 is what is drawn anyway"
    assert all(Case.from_json(case.to_json()) == case for case in everything)
    assert len(suite.narrow_cases(biased, ["forget_bias=1"], "mine")) == len(plain)
    assert len(suite.narrow_cases(chrono, ["chrono_length=20", "until=solved"], "mine")) == len(plain)


def test_a_case_as_they_were_before_has_the_key_that_it_had(tmp_path: Path) -> None:
    facts = expand_suite(tmp_path)[0].identity()
    assert not {"initial", "chrono_length", "forget_bias", "until", "radius"} & {*facts}


def test_a_case_that_is_read_from_a_row_is_the_case_of_the_row(tmp_path: Path) -> None:
    for case in (expand_suite(tmp_path, CHRONO)[0], expand_suite(tmp_path, STARTED + "forget_bias = 5")[0]):
        row = case.to_json() | {"key": case.key(), "parameters": json.dumps(dict(case.parameters))}
        assert Case.from_row(row) == case
        assert Case.from_row(row).key() == case.key()


def test_the_penalty_reaches_the_recipe_and_the_label(tmp_path: Path) -> None:
    plain, *_, strong = sorted(expand_suite(tmp_path, PENALISED), key=lambda case: case.strength or 0)
    assert plain.training().regulariser is None
    assert strong.training().regulariser == Regulariser("l2", 1.0)
    assert "l2 1 adam" in strong.label()
    assert "l2" not in plain.label()


def test_a_label_tells_a_radius_of_its_own() -> None:
    case = Case(task="adding", framework="reference", cell="rnn", path="numpy")
    assert "radius" not in case.label()
    assert "rnn radius 0.9 clip" in dataclasses.replace(case, radius=0.9).label()


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_shards_are_each_case_once_and_have_some_of_all(tmp_path: Path, parts: int) -> None:
    cases = expand_suite(tmp_path)
    shards = [suite.choose_shard(cases, f"{at}/{parts}") for at in range(1, parts + 1)]
    assert shards[0][0] == cases[0]
    assert sorted(case.label() for shard in shards for case in shard) == sorted(case.label() for case in cases)
    assert {len(shard) for shard in shards} <= {len(cases) // parts, -(-len(cases) // parts)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"regulariser": "none", "strength": 1.0}, "regulariser none takes no strength"),
        ({"regulariser": "l2"}, "regulariser l2 needs a strength"),
        ({"regulariser": "l1", "strength": -1.0}, "strength must be a positive finite number, not -1.0"),
        ({"regulariser": "l1", "strength": float("nan")}, "strength must be a positive finite number, not nan"),
        ({"regulariser": "lasso", "strength": 1.0}, "unknown regulariser 'lasso'; allowed: none, l1, l2"),
        ({"framework": "reference", "path": "numpy", "device": "cuda"}, "reference does not run on cuda"),
        ({"initial": "chrono", "chrono_length": 20}, "initial chrono sets biases of gates, for cell lstm or gru"),
        ({"cell": "lstm", "initial": "chrono"}, "initial chrono needs a chrono_length"),
        ({"cell": "lstm", "initial": "chrono", "chrono_length": 2}, "chrono_length must be a whole number from 3 to"),
        ({"cell": "lstm", "initial": "chrono", "chrono_length": 2.5}, "chrono_length must be a whole number from 3"),
        ({"cell": "lstm", "forget_bias": float("inf")}, "forget_bias must be a finite number, not inf"),
        ({"initial": "xavier"}, "unknown initial 'xavier'; allowed: default, chrono, irnn, sigmoid, basic_tanh, smar"),
        ({"initial": "smart_tanh", "radius": 2.0}, "initial smart_tanh takes no radius"),
        ({"until": "bored"}, "unknown until 'bored'; allowed: steps, solved"),
        ({"mode": "native", "initial": "irnn"}, "mode native takes no initial irnn: its first weights are the frame"),
        ({"mode": "native", "cell": "lstm", "forget_bias": 5.0}, "mode native takes no forget_bias 5: its first"),
        ({"task": "translation", "parameters": {}, "until": "solved"}, "until solved needs a task with a criterion"),
        ({"clip": "autoclip", "threshold": 100.5}, "is a percentile, above 0 and at most 100, not 100.5"),
        ({"clip": "autoclip", "threshold": 0.0}, "threshold must be a positive finite number, not 0.0"),
        ({"clip": "agc", "threshold": -1.0}, "threshold must be a positive finite number, not -1.0"),
        ({"clip": "variable", "threshold": None}, "clip variable needs a threshold"),
        (
            {"clip": "backprop", "threshold": 1.0, "path": "compiled"},
            "hides in a fused layer; allowed on cpu: eager, f",
        ),
        (
            {"clip": "backprop", "threshold": 1.0, "device": "cuda", "path": "cudnn"},
            "allowed on cuda: cudagraph, eager",
        ),
        (
            {"clip": "backprop", "threshold": 1.0, "regulariser": "omega", "strength": 1.0},
            "clip backprop takes no regulariser omega",
        ),
        ({"clip": "agc", "threshold": 0.1, "mode": "native"}, "mode native takes no clip agc"),
        (
            {"clip": "graves", "threshold": 1.0},
            "unknown clip 'graves'; allowed: none, norm, value, variable, agc, a",
        ),
        (
            {"cell": "lstm", "regulariser": "omega2", "strength": 1.0},
            "regulariser omega2 is defined for cell rnn, not for",
        ),
        ({"optimizer": "adamw"}, "optimizer adamw needs a weight_decay"),
        ({"weight_decay": 0.1}, "weight_decay is for optimizer adamw, not for adam"),
        ({"optimizer": "adamw", "weight_decay": -0.1}, "weight_decay must be a finite number of at least 0, not -0.1"),
        ({"optimizer": "adagrad", "decay": 0.9}, "decay is for optimizer rmsprop, not for adagrad"),
        ({"optimizer": "rmsprop", "decay": 1.0}, "decay must be a number above 0 and below 1, not 1.0"),
        ({"accumulator": 0.1}, "accumulator is for optimizer rmsprop and adagrad, not for adam"),
        ({"optimizer": "adagrad", "accumulator": -1.0}, "accumulator must be a finite number of at least 0, not -1.0"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; allowed: constant, cosine, step"),
        ({"warmup": 5}, "warmup is for schedule cosine, not for constant"),
        (
            {"schedule": "cosine", "warmup": 200},
            "warmup must be a whole number from 0 to below steps \\(200\\), not 200",
        ),
        ({"schedule": "cosine", "rate_end": 2.0}, "rate_end must be a number from 0 to 1, not 2.0"),
        ({"schedule": "step", "rate_end": 0.5}, "rate_end is for schedule cosine, not for step"),
        ({"schedule": "step", "rate_factor": 0.5}, "schedule step needs a rate_every"),
        ({"schedule": "step", "rate_every": 10}, "schedule step needs a rate_factor"),
        (
            {"schedule": "step", "rate_every": 10, "rate_factor": 1.0},
            "rate_factor must be a number above 0 and below 1, not 1.0",
        ),
        ({"schedule": "cosine", "rate_every": 10}, "rate_every is for schedule step, not for cosine"),
    ],
)
def test_a_case_that_cannot_be_is_refused_when_it_is_made(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    good = expand_suite(tmp_path)[0].to_json()
    with pytest.raises(registry.UsageError, match=said):
        Case.from_json(good | fields)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 200", "stepz = 200", "unknown key block.0.stepz; allowed: task,"),
        ("description", "descriptoin", "unknown key descriptoin|description: Field required"),
        ("steps = 200", 'steps = "many"', "block.0.steps.0: Input should be a valid integer, not 'many'"),
        ("steps = 200", "steps = 0", "block.0.steps.0: Input should be greater than 0, not 0"),
        ("steps = 200", "steps = 250", "steps must be a multiple of evaluate_every"),
        ("seed = [0, 1]", "seed = []", "block.0.seed: an axis needs at least one value"),
        ("seed = [0, 1]", "seed = -1", "block.0.seed.0: Input should be greater than or equal to 0"),
        ('task = "adding"', 'task = "addign"', "unknown task 'addign'; allowed: adding, "),
        ('["pytorch", "tensorflow"]', '"caffe"', "unknown framework 'caffe'; allowed: "),
        ('["rnn", "lstm"]', '"elman"', "block.0.cell.0: Input should be 'rnn', 'lstm', 'gru', 'min"),
        ("[0.1, 1]", "0", "block.0.clip.1.threshold.0: Input should be greater than 0"),
        ("[0.1, 1]", "-0.5", "block.0.clip.1.threshold.0: Input should be greater than 0"),
        ("[0.1, 1]", "nan", "block.0.clip.1.threshold.0: Input should be"),
        ("[0.1, 1]", "inf", "block.0.clip.1.threshold.0: Input should be"),
        ('{ kind = "none" }', '{ kind = "none", threshold = 1 }', "block.0.clip.0: clip none takes no threshold"),
        (", threshold = [0.1, 1]", "", "block.0.clip.1: clip norm needs a threshold"),
        ("steps = 200", 'initial = "xavier"', "block.0.initial.0: Input should be 'default', 'chrono', 'irnn', 'sigmo"),
        ("steps = 200", 'initial = "chrono"\nchrono_length = 2', "initial chrono sets biases of gates"),
        ('cell = ["rnn", "lstm"]', 'cell = "gru"\ninitial = "chrono"\nchrono_length = 2', "chrono_length must be a wh"),
        ("steps = 200", "forget_bias = nan", "block.0.forget_bias.0: Input should be a finite number"),
        ("steps = 200", 'until = "bored"', "block.0.until.0: Input should be 'steps' or 'solved', not 'bored'"),
        ("steps = 200", 'regulariser = { kind = "l3", strength = 1 }', "block.0.regulariser.0.kind: Input should be"),
        ("steps = 200", 'regulariser = { kind = "l2", strength = 0 }', "strength.0: Input should be greater than 0"),
        ("steps = 200", 'regulariser = { kind = "l2", strength = -1 }', "strength.0: Input should be greater than 0"),
        ("steps = 200", 'regulariser = { kind = "l2", strength = nan }', "block.0.regulariser.0.strength.0: Input"),
        ("steps = 200", 'regulariser = { kind = "l1", strength = [] }', "an axis needs at least one value"),
        ("steps = 200", 'regulariser = { kind = "l2" }', "block.0.regulariser.0: regulariser l2 needs a strength"),
        ("steps = 200", 'regulariser = { kind = "none", strength = 1 }', "regulariser none takes no strength"),
        ("steps = 200", 'regulariser = "l2"', "block.0.regulariser.0: Input should be"),
        ("T = [10, 20]", "T = 1", "T is 1; it must be a whole number from 2"),
        ("T = [10, 20]", "delay = 1", "unknown parameter of task adding 'delay'; allowed: T"),
        ("T = [10, 20]", "T = []", "block.0.parameters.T: an axis needs at least one value"),
        (
            "steps = 200",
            'steps = 200\npath = { pytorch = "warp" }',
            "unknown path 'warp' for pytorch rnn on cpu; allowed",
        ),
        ("steps = 200", 'steps = 200\nactivation = "relu"', "activation relu is for cell rnn"),
        ("steps = 200", "steps = ", "suite mine.toml is not valid TOML"),
        ("[defaults]\n", "defaults = 3\n", "defaults: Input should be a valid dictionary, not 3"),
    ],
)
def test_a_faulty_suite_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(registry.UsageError) as fault:
        expand_suite(tmp_path, GOOD.replace(old, new))
    assert any(part in str(fault.value) for part in said.split("|")), str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_empty_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match="block: "):
        expand_suite(tmp_path, 'description = "nothing"\nblock = []\n')
    with pytest.raises(registry.UsageError, match="block: Field required"):
        expand_suite(tmp_path, 'description = "nothing"\n')


def test_a_suite_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(registry.UsageError, match=r"unknown suite 'quik'; allowed: .*quick"):
        suite.load_suite("quik")
    with pytest.raises(registry.UsageError, match="cannot read suite"):
        suite.load_suite(str(tmp_path / "none.toml"))


RECIPES = """
description = "recipes"
[defaults]
task = "adding"
parameters = { T = 10 }
framework = "reference"
cell = "rnn"
steps = 200
[[block]]
optimizer = "rmsprop"
decay = [0.9, 0.95]
accumulator = [0, 0.1]
[[block]]
optimizer = "adamw"
weight_decay = [0.01, 0.1]
schedule = "cosine"
warmup = [0, 20]
rate_end = [0, 0.1]
[[block]]
optimizer = ["adagrad", "sgd"]
schedule = "step"
rate_every = [50, 100]
rate_factor = 0.5
"""


def test_the_numbers_of_optimizers_and_schedules_are_axes_that_tell_cases_apart(tmp_path: Path) -> None:
    cases = expand_suite(tmp_path, RECIPES)
    assert len(cases) == 4 + 8 + 4
    assert len({case.key() for case in cases}) == len({case.label() for case in cases}) == len(cases)
    assert all(Case.from_json(case.to_json()) == case for case in cases)
    chosen = suite.narrow_cases(cases, ["optimizer=adamw", "weight_decay=0.1", "warmup=20", "rate_end=0.1"], "mine")
    (training,) = (case.training() for case in chosen)
    assert training.schedule == Schedule("cosine", 200, warmup=20, end=0.1)
    assert (training.optimizer, training.weight_decay) == ("adamw", 0.1)
    assert chosen[0].label().endswith("adamw 0.003 cosine weight decay 0.1 warmup 20 rate end 0.1 seed 0")
    stepped = next(case for case in cases if case.rate_every == 100)
    assert stepped.training().schedule == Schedule("step", 200, every=100, factor=0.5)
    started = next(case for case in cases if case.accumulator)
    assert (started.training().decay, started.training().accumulator) == (0.9, 0.1)


def test_what_every_case_before_had_is_no_part_of_a_key() -> None:
    case = Case(task="adding", parameters=(("T", 5),), framework="reference", cell="rnn", path="numpy")
    later = {*BELONGS_TO, "schedule"}
    assert not later & {*case.identity()}
    assert {name: getattr(case, name) for name in later} == {name: COLUMNS[name].before for name in later}


def test_what_a_key_is_a_hash_of_keeps_what_earlier_rows_had() -> None:
    identity = Case(task="adding", parameters=(("T", 5),), framework="reference", cell="rnn", path="numpy").identity()
    assert identity["numerics"] == 1
