"""The source-blind trigram model that sets translation's floor.

Interpolated Witten-Bell smoothing: with c the count of an n-gram, h the two words before w, h' the
last of them, c(h) the sum of c(hw) over w and T(h) the number of different w seen after h,

    p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)),

down to the uniform distribution over the words that can be asked for. A history never seen hands
over to the shorter one. Witten and Bell, "The zero-frequency problem: estimating the probabilities
of novel events in adaptive text compression", IEEE Transactions on Information Theory 37(4), 1991;
interpolated as in Chen and Goodman, "An empirical study of smoothing techniques for language
modeling", Computer Speech and Language 13(4), 1999.
"""

from __future__ import annotations

import numpy as np

from farreach.tasks.base import Array
from farreach.tasks.data import subwords

NEVER_ASKED = 2
"""Padding and the separator are no targets."""


class Trigram:
    """Counts of one, two and three words; every sentence starts after two separators.

    Args:
        targets: [sentences, positions] tokens, as the training targets of a `Batch`.
        mask: [sentences, positions], 1 where a target counts.
        vocabulary: Number of tokens, padding and separator among them.

    """

    def __init__(self, targets: Array, mask: Array, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        grams = windows(targets)[mask > 0]
        self._orders = []
        for order in (1, 2, 3):
            codes, counts = np.unique(self._code(grams[:, 3 - order :]), return_counts=True)
            histories, first, types = np.unique(codes // vocabulary, return_index=True, return_counts=True)
            self._orders.append((codes, counts, histories, np.add.reduceat(counts, first), types))

    def probability(self, grams: Array) -> Array:
        """Return p(w | u, v), [n] float64, of the rows (u, v, w) of `grams` [n, 3]."""
        chance = np.full(len(grams), 1 / (self.vocabulary - NEVER_ASKED))
        chance[grams[:, 2] < NEVER_ASKED] = 0
        for order, (codes, counts, histories, totals, types) in enumerate(self._orders, 1):
            code = self._code(grams[:, 3 - order :])
            seen = _look_up(codes, counts, code)
            total = _look_up(histories, totals, code // self.vocabulary)
            novel = _look_up(histories, types, code // self.vocabulary)
            known = total > 0
            chance[known] = (seen + novel * chance)[known] / (total + novel)[known]
        return chance

    def cross_entropy(self, targets: Array, mask: Array) -> float:
        """Return the mean of -ln p over the targets that count, in nats a token."""
        return float(-np.log(self.probability(windows(targets)[mask > 0])).mean())

    def _code(self, words: Array) -> Array:
        """Write each row of words as one integer, the last word as its last digit."""
        code = np.zeros(len(words), np.int64)
        for column in words.T:
            code = code * self.vocabulary + column
        return code


def windows(targets: Array) -> Array:
    """Return every target with the two before it, [sentences, positions, 3]."""
    before = np.full((len(targets), 2), subwords.SEPARATOR, targets.dtype)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([before, targets], axis=1), 3, axis=1)


def _look_up(keys: Array, values: Array, wanted: Array) -> Array:
    """Return the values of the wanted keys, 0 where a key is missing; `keys` are sorted."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
