"""Translation: the layout, the subwords, leaks between the splits, the source gain, the hub."""

from __future__ import annotations

import itertools
import re
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farreach.tasks import base, data, translation
from farreach.tasks.data import sentences, subwords
from tests.support.documents import read_page

SHORT = translation.Task(longest=16)
"""45 evaluation pairs, so that thorough evaluation takes a second."""

PAD, SEPARATOR, END = subwords.PAD, subwords.SEPARATOR, subwords.END


def texts() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the shipped pairs as the task uses them: training, evaluation."""
    return sentences._texts(data.SHIPPED)  # noqa: SLF001 - no other way to the text


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return subwords.truncate((data.HERE / "translation" / "tokenizer.json").read_text("utf-8"), 2_000)


# The layout of one example.


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_a_pair_is_source_separator_target(split: str) -> None:
    batch = translation.training(SHORT) if split == "training" else SHORT.evaluation()
    source, separator, target = batch.inputs[:, :16], batch.inputs[:, 16], batch.inputs[:, 17:]
    assert (separator == SEPARATOR).all()
    assert (np.diff((source == PAD).astype(int), axis=1) <= 0).all()  # padded on the left
    assert (np.diff((target == PAD).astype(int), axis=1) >= 0).all()  # and on the right
    assert (source[:, -1] != PAD).all()
    assert not np.isin(source, [SEPARATOR, END]).any()
    assert not np.isin(target, [SEPARATOR, END]).any()


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_targets_are_the_next_token_and_the_end(split: str) -> None:
    batch = translation.training(SHORT) if split == "training" else SHORT.evaluation()
    lengths = (batch.inputs[:, 17:] != PAD).sum(axis=1)
    np.testing.assert_array_equal(batch.mask.sum(axis=1), lengths + 1)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(batch.targets[row, :length], batch.inputs[row, 17 : 17 + length])
        assert batch.targets[row, length] == END
        assert (batch.targets[row, length + 1 :] == PAD).all()
        assert (batch.mask[row, : length + 1] == 1).all()
        assert (batch.mask[row, length + 1 :] == 0).all()


def test_source_is_reversed_unless_asked_otherwise() -> None:
    reversed_, straight = SHORT.evaluation(), translation.Task(longest=16, reverse=False).evaluation()
    np.testing.assert_array_equal(reversed_.targets, straight.targets)
    for ours, theirs in zip(reversed_.inputs[:, :16], straight.inputs[:, :16], strict=True):
        assert list(ours[ours != PAD]) == list(theirs[theirs != PAD])[::-1]


def test_pairs_keeps_so_many_of_the_training_pairs_and_all_of_the_evaluation() -> None:
    fewer = translation.Task(longest=16, pairs=100)
    chosen = {row.tobytes() for row in translation.training(fewer).inputs}
    assert len(translation.training(fewer).inputs) == 100
    assert chosen < {row.tobytes() for row in translation.training(SHORT).inputs}
    assert chosen < {row.tobytes() for row in translation.training(translation.Task(longest=16, pairs=200)).inputs}
    assert fewer.evaluation() is SHORT.evaluation()
    drawn = {row.tobytes() for batch in itertools.islice(fewer.batches(0, 50), 4) for row in batch.inputs}
    assert drawn == chosen


PAIRS = re.findall(
    r"^\| (\d+), (\d+)(?: \(default\))? \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \|$", read_page("tasks"), re.MULTILINE
)


@pytest.mark.parametrize(("longest", "vocabulary", "train", "evaluation", "floor"), PAIRS[:2])
def test_the_page_says_how_many_pairs_there_are(
    longest: str, vocabulary: str, train: str, evaluation: str, floor: str
) -> None:
    assert len(PAIRS) >= 5
    task = translation.Task(longest=int(longest), vocabulary=int(vocabulary))
    assert f"{len(translation.training(task).inputs):,}" == train
    assert f"{len(task.evaluation().inputs):,}" == evaluation
    assert f"{task.floor:.2f}" == floor


def test_more_pairs_than_there_are_is_refused() -> None:
    with pytest.raises(base.TaskError, match=r"pairs is 30000; it must be at most \d+, or 0"):
        next(translation.Task(longest=16, pairs=30_000).batches(0, 1))


def test_a_length_that_no_pair_has_is_refused() -> None:
    with pytest.raises(base.TaskError, match="longest is 2; too few sentence pairs are so short"):
        translation.Task(longest=2).evaluation()


# The splits.


def test_no_side_of_an_evaluation_pair_is_in_training() -> None:
    train, evaluation = texts()
    for side in (0, 1):
        assert {pair[side] for pair in train}.isdisjoint({pair[side] for pair in evaluation})


def test_no_evaluation_sequence_is_in_training() -> None:
    task = translation.Task()
    train, evaluation = translation.training(task), task.evaluation()
    assert {row.tobytes() for row in train.inputs}.isdisjoint({row.tobytes() for row in evaluation.inputs})
    assert len(evaluation.inputs) > 300
    assert len(train.inputs) > 3_000


# The subwords.


def test_decoding_the_targets_gives_the_reference_texts() -> None:
    known = SHORT.evaluation().targets != subwords.UNKNOWN
    decoded, references = SHORT.decode(SHORT.evaluation().targets), SHORT._encoded().references  # noqa: SLF001
    assert [text for text, whole in zip(decoded, known.all(axis=1), strict=True) if whole] == [
        text for text, whole in zip(references, known.all(axis=1), strict=True) if whole
    ]


@settings(deadline=None)
@given(choice=st.integers(0, 10**6), side=st.integers(0, 1))
def test_decode_of_encode_is_the_text(tokenizer: Any, choice: int, side: int) -> None:
    pairs = texts()[1]
    text = pairs[choice % len(pairs)][side]
    ids = tokenizer.encode(text).ids
    assert subwords.UNKNOWN in ids or tokenizer.decode(ids) == text
    assert sentences.encode(tokenizer, [text]) == [ids]  # word by word is the same as whole


def test_shipped_vocabulary_knows_nearly_every_character_of_the_evaluation_text() -> None:
    targets = translation.Task(vocabulary=200, longest=60).evaluation().targets
    assert (targets == subwords.UNKNOWN).sum() < 1e-3 * (targets != PAD).sum()


@pytest.mark.parametrize("vocabulary", [100, 200, 399])
def test_a_truncated_vocabulary_is_the_one_that_training_for_it_gives(vocabulary: int) -> None:
    some = [side for pair in texts()[0][:400] for side in pair]
    large, small = subwords.train(some, 400), subwords.train(some, vocabulary)
    cut = subwords.truncate(large.to_str(), vocabulary)
    assert cut.get_vocab() == small.get_vocab()
    assert [cut.encode(text).ids for text in some] == [small.encode(text).ids for text in some]


def test_special_tokens_have_their_places(tokenizer: Any) -> None:
    assert [tokenizer.id_to_token(place) for place in range(4)] == list(subwords.SPECIAL)
    assert tokenizer.get_vocab_size() == 2_000


# What crosses the separator.


def blind(task: translation.Task) -> base.Predict:
    """Answer from the target's tokens alone, each with logits of its own."""
    logits = np.random.default_rng(0).normal(size=(task.vocabulary, task.vocabulary)).astype(np.float32)
    return lambda inputs: logits[inputs[:, task.longest :]]


def reader(task: translation.Task) -> base.Predict:
    """Know each sentence's translation by its source, and by nothing else."""
    batch = task.evaluation()
    known = {row[: task.longest].tobytes(): answer for row, answer in zip(batch.inputs, batch.targets, strict=True)}
    one_hot = np.eye(task.vocabulary, dtype=np.float32) * 20
    return lambda inputs: np.stack([one_hot[known[row[: task.longest].tobytes()]] for row in inputs])


def test_source_gain_of_a_source_blind_predictor_is_zero() -> None:
    metrics = SHORT.evaluate(blind(SHORT), thorough=True)
    assert metrics["source_gain"] == metrics["source_gain_low"] == metrics["source_gain_high"] == 0
    assert metrics["bleu"] < 1


def test_source_gain_of_a_predictor_that_reads_the_source_is_positive() -> None:
    metrics = SHORT.evaluate(reader(SHORT), thorough=True)
    assert metrics["source_gain_low"] > 5
    assert metrics["source_gain_low"] < metrics["source_gain"] < metrics["source_gain_high"]
    assert metrics["bleu"] > 95  # short of 100: two verses with one source have different translations
    assert metrics["chrf"] > 95


def test_quick_evaluation_leaves_out_the_slow_metrics() -> None:
    quick = SHORT.evaluate(blind(SHORT))
    assert set(quick) == {"loss", "perplexity"}
    assert set(SHORT.evaluate(blind(SHORT), thorough=True)) == {
        "loss",
        "perplexity",
        "training_pairs",
        "evaluation_pairs",
        "source_gain",
        "source_gain_low",
        "source_gain_high",
        "chrf",
        "bleu",
    }
    assert quick["perplexity"] == pytest.approx(np.exp(quick["loss"]))


def test_an_infinite_perplexity_is_no_crash() -> None:
    def sure_and_wrong(inputs: base.Array) -> base.Array:
        scores = np.zeros((len(inputs), SHORT.scored, SHORT.outputs), np.float32)
        scores[..., PAD] = 1e6
        return scores

    assert SHORT.evaluate(sure_and_wrong)["perplexity"] == np.inf


def test_translation_is_never_solved() -> None:
    assert SHORT.solved({"loss": 0.0, "perplexity": 1.0}) is None


@given(st.integers(2, 500))
def test_no_target_keeps_its_source_when_permuted(total: int) -> None:
    partner = translation.derangement(total)
    assert sorted(partner) == list(range(total))
    assert (partner != np.arange(total)).all()


def test_interval_covers_the_true_gain_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        mask = (np.arange(12) < random.integers(2, 13, (80, 1))).astype(np.float32)
        true = random.normal(size=mask.shape)
        sentence = random.normal(0.3, 0.5, (80, 1))  # a gain of .3, which varies from sentence to sentence
        found = translation.source_gain(true, true + sentence + 0.2 * random.normal(size=mask.shape), mask)
        covered += found["source_gain_low"] <= 0.3 <= found["source_gain_high"]
    assert 0.92 <= covered / 400 <= 0.98


# Greedy decoding.


def test_decoding_writes_each_token_into_the_next_input() -> None:
    """A predictor that says one more than it read, up to the end token's turn."""
    asked = []

    def predict(inputs: base.Array) -> base.Array:
        asked.append(inputs.copy())
        return np.eye(50, dtype=np.float32)[(inputs[:, 3:] + 10) % 50]

    inputs = np.array([[0, 7, 8, SEPARATOR, 40, 40, 40]], np.int32)
    np.testing.assert_array_equal(translation.greedy(predict, inputs, 3), [[11, 21, 31]])
    assert {call.shape for call in asked} == {(base.EVALUATION_BATCH, 7)}
    np.testing.assert_array_equal(asked[0][0], [0, 7, 8, SEPARATOR, PAD, PAD, PAD])
    np.testing.assert_array_equal(asked[2][0], [0, 7, 8, SEPARATOR, 11, 21, PAD])


def test_decoding_stops_when_every_sentence_has_ended() -> None:
    calls = []

    def silent(inputs: base.Array) -> base.Array:
        calls.append(len(inputs))
        return np.broadcast_to(np.eye(50)[END], (len(inputs), 17, 50))

    tokens = translation.greedy(silent, SHORT.evaluation().inputs, 16)
    assert len(calls) == 1
    assert set(SHORT.decode(tokens)) == {""}


# The larger sets of the hub, made here.

HOUSES = [(f"house number {row} is red", f"la casa número {row} es roja") for row in range(60)]


def offer(monkeypatch: pytest.MonkeyPatch, **splits: datasets.Dataset) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(splits))
    monkeypatch.setenv(data.ALLOWED, "1")
    for cached in (sentences._texts, sentences._tokenizer, sentences.encoded, translation._floor):  # noqa: SLF001
        cached.cache_clear()


def as_translation(pairs: list[tuple[str, str]], languages: tuple[str, str] = ("en", "es")) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"translation": [dict(zip(languages, pair, strict=True)) for pair in pairs]})


def as_columns(pairs: list[tuple[str, str]]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"de": [there for _, there in pairs], "en": [here for here, _ in pairs]})


@pytest.mark.parametrize("layout", [as_translation, as_columns])
def test_hub_pairs_become_the_same_arrays(monkeypatch: pytest.MonkeyPatch, layout: Any) -> None:
    offer(monkeypatch, train=layout(HOUSES[:50]), validation=layout(HOUSES[:2]), test=layout(HOUSES[50:]))
    task = translation.Task(source="hub:someone/houses", vocabulary=250)
    assert len(translation.training(task).inputs) == 50
    assert task.decode(task.evaluation().targets) == [there for _, there in HOUSES[50:]]
    assert task.floor > 0
    assert next(task.batches(0, 70)).inputs.shape == (70, 49)


def test_hub_set_with_one_split_has_its_last_tenth_held_out_without_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = [(HOUSES[59][0], "otra cosa"), ("something else", HOUSES[58][1])]
    offer(monkeypatch, train=as_translation(leaks + HOUSES))
    task = translation.Task(source="hub:someone/one-split", vocabulary=250)
    assert len(task.evaluation().inputs) == 6
    assert len(translation.training(task).inputs) == 54


def test_hub_vocabulary_is_trained_on_the_training_side_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = [("ŵŵŵ ŷŷŷ", "ŵŵŵ"), ("ŷŷŷ", "ŷŷŷ ŵŵŵ")]
    offer(monkeypatch, train=as_translation(HOUSES), test=as_translation(strange))
    task = translation.Task(source="hub:someone/strange", vocabulary=250)
    assert not {"ŵ", "ŷ"} & set("".join(task._encoded().tokenizer.get_vocab()))  # noqa: SLF001


def test_english_comes_first_whatever_the_other_language_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = [(there, here) for here, there in HOUSES]
    offer(monkeypatch, train=as_translation(swapped, ("de", "en")), test=as_translation(swapped[:3], ("de", "en")))
    task = translation.Task(source="hub:someone/swapped", vocabulary=250)
    assert task._encoded().references == [there for _, there in HOUSES[:3]]  # noqa: SLF001


def test_hub_set_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = datasets.Dataset.from_dict({"text": ["one", "two"]})
    offer(monkeypatch, train=other, test=other)
    with pytest.raises(base.TaskError, match="must have 'translation' of two languages"):
        translation.Task(source="hub:someone/else").evaluation()


def test_hub_allows_a_larger_vocabulary_than_the_shipped_one() -> None:
    assert translation.Task(source="hub:a/b", vocabulary=8_000).outputs == 8_000
    with pytest.raises(base.TaskError, match="vocabulary is 8000; it must be a whole number from 200 to 4000"):
        translation.Task(vocabulary=8_000)
