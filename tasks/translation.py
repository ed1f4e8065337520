"""Translation as one sequence: English, a separator, Spanish.

Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014, with one
recurrent network for both sides. What crosses the separator is measured by the source gain.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from farreach.tasks import base, data
from farreach.tasks.data import sentences, subwords, trigram

FEWEST_ENTRIES = 200
SHIPPED_ENTRIES = 4_000
MOST_ENTRIES = 32_000
LONGEST_SENTENCE = 500
NORMAL_95 = 1.96
"""Half the width of a 95 % interval, in standard errors."""


@dataclasses.dataclass(frozen=True)
class Task(base.Task):
    """A sentence, its end turned first, and a separator in; its translation comes out.

    With `longest` = 4, ``_`` for padding and ``:`` for the separator::

        input   _ beginning the In : En el principio _
        labels                     En el principio END _
        mask                        1  1         1   1 0

    The floor is the cross-entropy, in nats a token, of a trigram model that is counted on the
    training targets and never sees a source: p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)),
    see `farreach.tasks.data.trigram`. No figure says "solved"; ``source_gain``, the headline metric, is 0
    when nothing crossed the separator.

    Attributes:
        longest: Most subwords a side, 2 to 500; longer pairs are left out, on both splits.
        vocabulary: Subwords of both languages together, 200 to 4,000, on the hub to 32,000. Fewer
            than 4,000 are the first entries of the shipped vocabulary, which nests.
        pairs: Training pairs, drawn by a fixed shuffle of those that fit; 0 is all of them.
        reverse: Whether the source stands in reverse order, which brings the two beginnings near.
        source: ``shipped``, or ``hub:OWNER/NAME[:CONFIG][@REVISION]``, such as
            ``hub:bentrevett/multi30k``, whose vocabulary is trained when it is loaded.

    Raises:
        base.TaskError: A parameter is of the wrong type or out of its range.

    """

    longest: int = 24
    vocabulary: int = 2_000
    pairs: int = 0
    reverse: bool = True
    source: str = data.SHIPPED

    version: ClassVar[int] = 1
    loss: ClassVar[Literal["cross_entropy", "mse"]] = "cross_entropy"
    unit: ClassVar[str] = "nats a token"
    metric: ClassVar[str] = "source_gain"
    tokens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        hub = data.parse(self.source)
        base.require_whole("longest", self.longest, 2, LONGEST_SENTENCE)
        base.require_whole("vocabulary", self.vocabulary, FEWEST_ENTRIES, MOST_ENTRIES if hub else SHIPPED_ENTRIES)
        base.require_whole("pairs", self.pairs, 0, 10**9)
        base.require_flag("reverse", self.reverse)

    @property
    def features(self) -> int:
        """Return the size of the vocabulary."""
        return self.vocabulary

    @property
    def outputs(self) -> int:
        """Return the size of the vocabulary; padding and the separator are never asked for."""
        return self.vocabulary

    @property
    def length(self) -> int:
        """Return 2 `longest` + 1 tokens: both sides and the separator."""
        return 2 * self.longest + 1

    @property
    def scored(self) -> int:
        """Return `longest` + 1: the separator predicts the first subword, the last one the end."""
        return self.longest + 1

    @property
    def source_steps(self) -> int:
        """Return `longest`: what stands before the separator."""
        return self.longest

    @property
    def padding(self) -> int:
        """Return the token before a shorter source, and after a shorter target."""
        return subwords.PAD

    @property
    def floor(self) -> float:
        """Return the cross-entropy of the trigram model on the evaluation targets, in nats a token."""
        return _floor(self)

    def batches(self, seed: int, size: int) -> Iterator[base.Batch]:
        """Yield batches of inputs [size, 2 longest + 1] and targets [size, longest + 1], without end.

        Every epoch is shuffled anew; a batch may span two epochs.
        """
        train = training(self)
        for rows in base.endless_rows(seed, size, len(train.inputs)):
            yield base.Batch(train.inputs[rows], train.targets[rows], train.mask[rows])

    def evaluation(self) -> base.Batch:
        """Return every pair of the evaluation split that fits."""
        return self._encoded().evaluation

    def evaluate(self, predict: base.Predict, *, thorough: bool = False) -> dict[str, float]:
        """Return ``loss`` and ``perplexity``, and with `thorough` the rest.

        The rest is how many pairs there are, ``training_pairs`` and ``evaluation_pairs``; ``source_gain`` (nats a
        token) with its 95 % interval ``source_gain_low`` and ``source_gain_high``; and ``chrf`` and ``bleu`` (0 to 100,
        sacrebleu) of greedy decoding.
        """
        batch = self.evaluation()
        true = _losses(predict, batch, batch.inputs)
        loss = base.masked_mean(true, batch.mask)
        with np.errstate(over="ignore"):  # a diverged model's perplexity is infinite
            metrics = {"loss": loss, "perplexity": float(np.exp(loss))}
        if thorough:
            inputs = batch.inputs.copy()
            inputs[:, : self.longest] = batch.inputs[derangement(len(inputs)), : self.longest]
            metrics |= {
                "training_pairs": float(len(training(self).inputs)),
                "evaluation_pairs": float(len(batch.inputs)),
            }
            metrics |= source_gain(true, _losses(predict, batch, inputs), batch.mask)
            metrics |= self._overlap(greedy(predict, batch.inputs, self.longest))
        return metrics

    def solved(self, metrics: dict[str, float]) -> None:
        """Return None: translation is never solved."""
        del metrics

    def decode(self, tokens: base.Array) -> list[str]:
        """Return the text of each row of tokens, up to its end token."""
        rows = [row[: row.index(subwords.END)] if subwords.END in row else row for row in tokens.tolist()]
        texts: list[str] = self._encoded().tokenizer.decode_batch(rows)
        return texts

    def _encoded(self) -> sentences.Encoded:
        return sentences.encoded(self.source, self.vocabulary, self.longest, reverse=self.reverse)

    def _overlap(self, tokens: base.Array) -> dict[str, float]:
        import sacrebleu

        said, references = self.decode(tokens), [self._encoded().references]
        chrf, bleu = sacrebleu.corpus_chrf(said, references), sacrebleu.corpus_bleu(said, references)
        return {"chrf": chrf.score, "bleu": bleu.score}


def training(task: Task) -> base.Batch:
    """Return every training pair of these parameters as one batch.

    Raises:
        base.TaskError: There are fewer than `task.pairs`.

    """
    train = task._encoded().train  # noqa: SLF001 - the same module
    total = len(train.inputs)
    if task.pairs > total:
        message = f"pairs is {task.pairs}; it must be at most {total}, or 0 for all that have {task.longest} subwords"
        raise base.TaskError(message)
    if not task.pairs:
        return train
    rows = np.sort(base.generator("permutation", 1).permutation(total)[: task.pairs])
    return base.Batch(train.inputs[rows], train.targets[rows], train.mask[rows])


@functools.lru_cache(maxsize=16)
def _floor(task: Task) -> float:
    train, evaluation = training(task), task.evaluation()
    model = trigram.Trigram(train.targets, train.mask, task.vocabulary)
    return model.cross_entropy(evaluation.targets, evaluation.mask)


def _losses(predict: base.Predict, batch: base.Batch, inputs: base.Array) -> base.Array:
    """Return -ln p of every target, [pairs, scored], given these inputs."""
    return base.in_batches(predict, inputs, lambda scores, rows: base.cross_entropy(scores, batch.targets[rows]))


def derangement(total: int) -> base.Array:
    """Return the fixed permutation, one cycle through all rows, that gives every target a wrong source."""
    order = base.generator("permutation").permutation(total)
    partner = np.empty(total, np.int64)
    partner[order] = np.roll(order, 1)
    return partner


def source_gain(true: base.Array, permuted: base.Array, mask: base.Array) -> dict[str, float]:
    """Compare the losses [pairs, scored] with the true and with the permuted sources.

    The gain is a ratio, the sum of the sentences' differences over the sum of their tokens; its
    interval is that of the ratio estimator: Cochran, "Sampling Techniques", 3rd edition, 1977, 6.4.
    """
    difference = ((permuted - true) * mask).sum(axis=1, dtype=np.float64)
    tokens = mask.sum(axis=1, dtype=np.float64)
    gain = float(difference.sum() / tokens.sum())
    spread = float(np.square(difference - gain * tokens).sum()) / (len(tokens) - 1)
    half = NORMAL_95 * math.sqrt(spread / len(tokens)) / float(tokens.mean())
    return {"source_gain": gain, "source_gain_low": gain - half, "source_gain_high": gain + half}


def greedy(predict: base.Predict, inputs: base.Array, longest: int) -> base.Array:
    """Return the most likely translation, [pairs, longest] tokens, one position at a time.

    The shape of the calls never changes, and only sentences that have not ended are asked on.
    """
    written = inputs.copy()
    written[:, longest + 1 :] = subwords.PAD
    going = np.arange(len(written))
    for step in range(longest):
        chosen = base.in_batches(predict, written[going], functools.partial(_choose, step=step))
        written[going, longest + 1 + step] = chosen
        going = going[chosen != subwords.END]
        if not len(going):
            break
    return written[:, longest + 1 :]


def _choose(scores: base.Array, rows: slice, step: int) -> base.Array:
    del rows
    return np.asarray(scores[:, step].argmax(axis=-1))
