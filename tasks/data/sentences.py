"""Sentence pairs, shipped or from the hub, and how they become padded arrays of subwords."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from farreach.tasks import base, data
from farreach.tasks.data import subwords

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Pairs that fit, ready to be batched.

    Attributes:
        tokenizer: The subword vocabulary of both languages.
        train: Every training pair.
        evaluation: Every evaluation pair.
        references: The evaluation pairs' target sentences as text.

    """

    tokenizer: Tokenizer
    train: base.Batch
    evaluation: base.Batch
    references: list[str]


@functools.lru_cache(maxsize=4)
def encoded(source: str, vocabulary: int, longest: int, *, reverse: bool) -> Encoded:
    """Load a corpus, keep the pairs with at most `longest` subwords a side, and lay them out.

    Raises:
        base.TaskError: The source cannot be read, or hardly any pair is short enough.

    """
    train, evaluation = _texts(source)
    tokenizer = _tokenizer(source, vocabulary)
    fitting = [_fitting(tokenizer, pairs, longest) for pairs in (train, evaluation)]
    if min(map(len, fitting)) <= 1:
        message = f"longest is {longest}; too few sentence pairs are so short ({len(fitting[0])} to train on"
        message += f", {len(fitting[1])} to evaluate on), so it must be larger"
        raise base.TaskError(message)
    batches = [_lay_out(rows, longest, reverse=reverse) for rows in fitting]
    return Encoded(tokenizer, batches[0], batches[1], [evaluation[row][1] for row in fitting[1]])


def _fitting(tokenizer: Tokenizer, pairs: list[Pair], longest: int) -> dict[int, tuple[list[int], list[int]]]:
    """Return both sides' subwords of the pairs that fit, by their row."""
    rows = [row for row, pair in enumerate(pairs) if all(0 < _at_least(side) <= longest for side in pair)]
    sides: list[dict[int, list[int]]] = []
    for side in (0, 1):  # the second side is encoded for the rows alone whose first side fits
        tokens = encode(tokenizer, [pairs[row][side] for row in rows])
        sides.append({row: ids for row, ids in zip(rows, tokens, strict=True) if len(ids) <= longest})
        rows = list(sides[-1])
    return {row: (sides[0][row], sides[1][row]) for row in rows}


def _at_least(text: str) -> int:
    """Return a lower bound of the subwords: one a word, and one a mark, which is never part of a word."""
    return len(text.split()) + sum(map(text.count, ",.;:?!"))


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return each text's subwords: those of its words, one after the other.

    Most words come many times, so that this is several times as fast as encoding whole sentences.
    """
    words = list(dict.fromkeys(word for text in texts for word in text.split()))
    known = dict(zip(words, (word.ids for word in tokenizer.encode_batch_fast(words)), strict=True))
    return [[token for word in text.split() for token in known[word]] for text in texts]


def _lay_out(fitting: dict[int, tuple[list[int], list[int]]], longest: int, *, reverse: bool) -> base.Batch:
    """Return inputs [pairs, 2 longest + 1], targets and mask [pairs, longest + 1]."""
    inputs = np.full((len(fitting), 2 * longest + 1), subwords.PAD, np.int32)
    inputs[:, longest] = subwords.SEPARATOR
    targets = np.full((len(fitting), longest + 1), subwords.PAD, np.int32)
    mask = np.zeros(targets.shape, np.float32)
    for row, (ours, theirs) in enumerate(fitting.values()):
        inputs[row, longest - len(ours) : longest] = ours[::-1] if reverse else ours
        inputs[row, longest + 1 : longest + 1 + len(theirs)] = theirs
        targets[row, : len(theirs)] = theirs
        targets[row, len(theirs)] = subwords.END
        mask[row, : len(theirs) + 1] = 1
    return base.Batch(inputs, targets, mask)


@functools.cache
def _texts(source: str) -> tuple[list[Pair], list[Pair]]:
    """Return the training and the evaluation pairs; no side of one is a side of the other."""
    hub = data.parse(source)
    if hub is None:
        splits = data.load_shipped("translation")
        train, evaluation = _sides(splits["train"]), _sides(splits["evaluation"])
    else:
        train, evaluation = map(_sides, data.held_out(data.load_hub(hub)))
    ours, theirs = {here for here, _ in evaluation}, {there for _, there in evaluation}
    return [pair for pair in train if pair[0] not in ours and pair[1] not in theirs], evaluation


def _sides(rows: Any) -> list[Pair]:
    """Read the column ``translation``, or two columns named by their languages; English comes first."""
    table = rows.with_format("arrow")[:]
    if "translation" in rows.column_names:
        column = table["translation"].combine_chunks()
        texts = {field.name: column.field(field.name).to_pylist() for field in column.type}
    else:
        texts = {name: table[name].to_pylist() for name in rows.column_names if len(name) == len("en")}
    if len(texts) != len(("source", "target")):
        message = (
            f"source has the columns {rows.column_names}; it must have 'translation' of two languages, or two "
            "columns named by their two-letter codes"
        )
        raise base.TaskError(message)
    first, second = sorted(texts, key=lambda language: language != "en")
    return [(here, there) for here, there in zip(texts[first], texts[second], strict=True) if here and there]


@functools.lru_cache(maxsize=4)
def _tokenizer(source: str, vocabulary: int) -> Tokenizer:
    """Return the shipped vocabulary cut to size, or one trained on the source's training side."""
    if data.parse(source) is None:
        return subwords.truncate((data.HERE / "translation" / "tokenizer.json").read_text("utf-8"), vocabulary)
    return subwords.train((side for pair in _texts(source)[0] for side in pair), vocabulary)
