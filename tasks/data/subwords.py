"""One subword vocabulary for both languages: byte-pair encoding of characters.

Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.
A vocabulary is nested: the first V entries of a larger one are the special tokens, the alphabet
and the first merges, which is what training for V entries gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[SEP]", "[END]", "[UNK]")
PAD, SEPARATOR, END, UNKNOWN = range(4)


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn a vocabulary of at most `vocabulary` entries, the special tokens first.

    A space becomes a mark on the word after it, punctuation stands alone, and a character that the
    texts lack becomes ``[UNK]``; without one, decoding gives the encoded text back.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106 - a token of text, no secret
    tokenizer.normalizer = normalizers.NFC()
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Punctuation("isolated")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def truncate(definition: str, vocabulary: int) -> Tokenizer:
    """Return the tokenizer of a JSON definition with its first `vocabulary` entries alone."""
    from tokenizers import Tokenizer

    parts: dict[str, Any] = json.loads(definition)
    model = parts["model"]
    model["vocab"] = {entry: number for entry, number in model["vocab"].items() if number < vocabulary}
    model["merges"] = [[left, right] for left, right in model["merges"] if left + right in model["vocab"]]
    return Tokenizer.from_str(json.dumps(parts))
