"""Build the shipped translation corpus: ``python -m farreach.tasks.data.build_translation [--check] [SWORD]``.

SWORD is the folder of the modules ``engWEB2015eb`` and ``spaRV1909eb``, as the Debian packages
``sword-text-web`` 426.0-1 and ``sword-text-sparv`` 2.60-1 install them; ``pysword`` 0.2.8 reads
them. With ``--check`` nothing is written: the files are built aside and their SHA-256 compared with
those beside this script.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from farreach.tasks.data import building, subwords

SWORD = Path("/usr/share/sword")
ENGLISH, SPANISH = "engWEB2015eb", "spaRV1909eb"
VOCABULARY = 4_000
FEWEST, MOST, LONGEST_RATIO = 3, 100, 2.2

EVALUATION = """
    Esther; Job; Ecclesiastes; Song of Solomon; Daniel; Revelation of John;
    I Corinthians; II Corinthians; James
"""
"""Books held out, about a tenth of the verses.

Whole books, chosen so that long parallel passages stay on one side. On the training side stand
together: Samuel, Kings, Chronicles, Ezra, Nehemiah, Isaiah, Jeremiah, Psalms, Micah and Obadiah;
Exodus to Deuteronomy; Joshua and Judges; the four Gospels and Acts; Romans and Galatians;
Ephesians, Colossians and Philemon; Jude and the letters of Peter. Daniel and Revelation, which
share their visions, and the two letters to the Corinthians are held out together.
"""

RENUMBERED = """
    Numbers 12:16 = 13:1;         Numbers 13:1-31 = 13:2-32;    Numbers 13:32+33 = 13:33
    Numbers 29:40 = 30:1;         Numbers 30:1-14 = 30:2-15;    Numbers 30:15+16 = 30:16
    I Samuel 23:29 = 24:1;        I Samuel 24:1-20 = 24:2-21;   I Samuel 24:21+22 = 24:22
    II Samuel 20:25+26 = 20:25;   I Kings 22:43 = 22:43+44;     I Kings 22:44-51 = 22:45-52
    I Kings 22:52+53 = 22:53;     I Chronicles 21:15 = 21:15+16
    I Chronicles 21:16-28 = 21:17-29;                           I Chronicles 21:29+30 = 21:30
    II Chronicles 33:10+11 = 33:10;                             II Chronicles 33:12-25 = 33:11-24
    Job 35:15+16 = 35:15;         Job 38:39-41 = 39:1-3;        Job 39:1-26 = 39:4-29
    Job 40:6-24 = 40:1-19;        Hosea 11:12 = 12:1;           Hosea 12:1-12 = 12:2-13
    Hosea 12:13+14 = 12:14;       Jonah 1:17 = 2:1;             Jonah 2:1-8 = 2:2-9
    Jonah 2:9+10 = 2:10;          Acts 19:40+41 = 19:40
    II Corinthians 13:12+13 = 13:12;                            II Corinthians 13:14 = 13:13
"""
"""Where the two texts number their verses differently: the English reference = the Spanish one.

A range pairs verse by verse; ``+`` joins verses. Found by scoring every verse against its
neighbours by word co-occurrence, and read through by eye. Job 39:27 to 40:5 is one Spanish verse and is left out.
"""

LEFT_OUT = {("Job", 39, 27), ("Job", 39, 28), ("Job", 39, 29), ("Job", 39, 30)} | {
    ("Job", 40, verse) for verse in range(1, 6)
}
GLOSSARY = ("Revelation of John", 22, 21)
"""A glossary of 3,890 tokens hangs on this verse of the English module."""

Verse = tuple[str, int, int]


def verses(sword: Path, module: str) -> dict[Verse, str]:
    """Return the marked-up text of every verse, by book, chapter and verse."""
    from pysword.modules import SwordModules  # noqa: PLC0415 - only a build needs it, not the tests of this file

    library = SwordModules(str(sword))
    library.parse_modules()
    bible = library.get_bible_from_module(module)
    # Unpatched, a book is decompressed again for every one of its verses: two minutes instead of seconds.
    bible._decompressed_text = functools.cache(bible._decompressed_text)  # noqa: SLF001
    return {
        (book.name, chapter, verse): bible.get([book.name], [chapter], [verse], clean=False)
        for testament in bible.get_structure().get_books().values()
        for book in testament
        for chapter, length in enumerate(book.chapter_lengths, 1)
        for verse in range(1, length + 1)
    }


def clean(markup: str) -> str:
    """Return the text without notes and speakers' names; a psalm's title becomes its first sentence.

    Elements that leave go by way of a space, or the words on either side would run together.
    """
    text = re.sub(r"<(note|speaker)\b[^>]*>.*?</\1>", " ", markup, flags=re.DOTALL)
    text = re.sub(
        r"<title\b[^>]*>(.*?)</title>", lambda title: f" {title[1].strip().rstrip('.,')}. ", text, flags=re.DOTALL
    )
    text = re.sub(r"(?<=</w>)(?=<transChange)|(?<=</transChange>)(?=<w)", " ", text)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)).strip()
    return re.sub(r" +([,.;:?!)”\u2019])", r"\1", text)


def renumbered() -> Iterator[tuple[tuple[Verse, ...], tuple[Verse, ...]]]:
    """Yield the English and the Spanish verses of every pair that `RENUMBERED` names."""
    for entry in filter(None, map(str.strip, re.split(r"[;\n]", RENUMBERED))):
        match = re.fullmatch(r"(.+) (\d+):([\d+-]+) = (\d+):([\d+-]+)", entry)
        if match is None:
            raise ValueError(entry)
        book = match[1]
        english, spanish = (
            [tuple((book, int(chapter), verse) for verse in group) for group in _numbers(numbers)]
            for chapter, numbers in ((match[2], match[3]), (match[4], match[5]))
        )
        yield from zip(english, spanish, strict=True)


def _numbers(numbers: str) -> list[list[int]]:
    if "-" in numbers:
        first, last = map(int, numbers.split("-"))
        return [[number] for number in range(first, last + 1)]
    return [[int(number) for number in numbers.split("+")]]


def lower_capitals(texts: list[str]) -> list[str]:
    """Write "EN el principio", with which a chapter opens, as "En el principio".

    A word in capitals keeps a first capital at the start of a sentence; elsewhere it is written as
    it mostly is in the rest of the text, so that "Y JEHOVÁ" becomes "Y Jehová" and "Y FUÉ", "Y fué".
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for word in re.findall(r"(?<=[\w,;] )\w+", text):  # inside a sentence alone
            if not word.isupper():
                spellings[word.upper()][word] += 1

    def usual(word: re.Match[str]) -> str:
        before = word.string[: word.start()].rstrip(" ¿¡(«“—")
        if not before or before[-1] in ".?!:":
            return word[0].capitalize()
        known = spellings[word[0].upper()]
        return min(known, key=lambda spelling: (-known[spelling], spelling)) if known else word[0].capitalize()

    return [
        re.sub(r"\b[^\W\d_]{2,}\b", lambda word: usual(word) if word[0].isupper() else word[0], text) for text in texts
    ]


def tokens(text: str) -> int:
    """Count words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def pairs(sword: Path) -> list[dict[str, Any]]:
    """Return every pair as a row of the columns ``id`` and ``translation``, in the order of the books."""
    english, spanish = verses(sword, ENGLISH), verses(sword, SPANISH)
    moved = dict(renumbered())
    handled = {verse for group in moved for verse in group} | LEFT_OUT | {GLOSSARY}
    aligned = moved | {(verse,): (verse,) for verse in english if verse not in handled and verse in spanish}
    order = {verse: place for place, verse in enumerate(english)}
    rows = []
    for ours, theirs in sorted(aligned.items(), key=lambda item: order[item[0][0]]):
        book, chapter, verse = ours[0]
        name = f"{book} {chapter}:{verse}" + "".join(f"+{more}" for _, _, more in ours[1:])
        texts = (
            " ".join(clean(source[part]) for part in parts) for source, parts in ((english, ours), (spanish, theirs))
        )
        rows.append((name, *texts))
    capitals_lowered = lower_capitals([there for _, _, there in rows])
    kept: dict[tuple[str, str], str] = {}
    for (name, here, _), there in zip(rows, capitals_lowered, strict=True):
        lengths = sorted((tokens(here), tokens(there)))
        if lengths[0] >= FEWEST and lengths[1] <= min(MOST, LONGEST_RATIO * lengths[0]):
            kept.setdefault((here, there), name)
    return [{"id": name, "translation": {"en": here, "es": there}} for (here, there), name in kept.items()]


def build(sword: Path, folder: Path) -> None:
    """Write ``train.parquet``, ``evaluation.parquet`` and ``tokenizer.json`` into `folder`."""
    held_out = {book.strip() for book in EVALUATION.split(";")}
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "evaluation": []}
    for row in pairs(sword):
        book = row["id"].rsplit(" ", 1)[0]
        splits["evaluation" if book in held_out else "train"].append(row)
    sides = pa.struct([("en", pa.string()), ("es", pa.string())])
    schema = pa.schema([("id", pa.string()), ("translation", sides)])
    for split, rows in splits.items():
        building.write(pa.Table.from_pylist(rows, schema), folder / f"{split}.parquet")
    texts = [text for row in splits["train"] for text in row["translation"].values()]
    tokenizer = subwords.train(texts, VOCABULARY)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")


if __name__ == "__main__":
    building.main("translation", build, "the folder of the SWORD modules", SWORD)
