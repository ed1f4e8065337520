"""What the documents show is what was published, and what is stale is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.publishing import documents, manifests, pictures, readme_blocks
from farreach.results.storage import files
from farreach.results.storage.files import StoreError, read_json
from tests.support import synthetic
from tests.support.commands import run_command


def test_nothing_that_is_published_is_stale() -> None:
    """``python -m benchmarks publish`` makes again whatever is named here."""
    assert documents.stale(registry.ROOT) == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree with one small published set, its report and the documents that quote it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / documents.PUBLISHED / "quick"
    synthetic.write(folder, [synthetic.record(seed=seed) for seed in range(3)], runs=[synthetic.run_line()])
    assert run_command("report", str(folder)).returncode == 0
    (root / "README.md").write_text(
        "# A\n\n<!-- quick -->\nold\n<!-- end of quick -->\n\n<!-- summary -->\n<!-- end of summary -->\n"
    )
    (root / documents.PUBLISHED / "README.md").write_text("<!-- sets -->\n<!-- end of sets -->\n")
    documents.write(root)
    (root / pictures.FOLDER).mkdir(parents=True)
    taken = {"quick": pictures.digest(folder)}
    (root / pictures.FOLDER / pictures.TAKEN).write_text(str(taken).replace("'", '"'))
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "root"))


def test_what_was_written_is_not_stale_and_is_written_once(root: Path) -> None:
    assert documents.stale(root) == []
    assert documents.write(root) == []
    text = (root / "README.md").read_text()
    assert "Which clip threshold worked?" in text
    assert "| adding T=50 (adam 0.003) | lstm | none | 0.97, 3/3 |" in text
    assert "| quick | 3 |" in (root / documents.PUBLISHED / "README.md").read_text()


def test_the_manifest_says_what_the_set_holds(root: Path) -> None:
    found = read_json(root / documents.PUBLISHED / "quick" / manifests.FILE)
    assert (found["cases"], found["seeds"], found["frameworks"]) == (3, [0, 1, 2], {"pytorch": ["2.13.0"]})
    assert found["files"]["rows"]["count"] == found["files"]["curves"]["count"] == 3
    assert found["command"] == ["python -m benchmarks run quick"]


@pytest.mark.parametrize("part", ["rows", "curves", "runs"])
def test_another_file_in_a_set_makes_its_manifest_stale(root: Path, part: str) -> None:
    path = next((root / documents.PUBLISHED / "quick" / part).iterdir())
    path.write_bytes(path.read_bytes() + b" ")
    assert any("manifest.json is not that of the files" in one for one in documents.stale(root))


def test_a_new_row_makes_manifest_report_documents_and_pictures_stale(root: Path) -> None:
    folder = root / documents.PUBLISHED / "quick"
    synthetic.write(folder, [synthetic.record(seed=3, solved=False, loss=0.1, steps_to_solve=None)])
    assert [one.rpartition("/")[2] for one in documents.stale(root)] == [
        "manifest.json is not that of the files beside it",
        "report.md does not give the answers of its rows",
        "summary.md is not that of its rows",
    ]
    assert run_command("report", str(folder)).returncode == 0
    documents.write(root)
    assert documents.stale(root) == [f"the pictures in {pictures.FOLDER} were taken from other rows"]


def test_a_document_that_was_changed_by_hand_is_stale(root: Path) -> None:
    path = root / "README.md"
    path.write_text(path.read_text().replace("0.97", "0.98"))
    assert documents.stale(root) == ["README.md is stale"]
    assert documents.write(root) == [path]
    assert documents.stale(root) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!-- nobody -->\n<!-- end of nobody -->", "nobody makes the block nobody"),
        ("<!-- quick -->\n", "a block is not closed: quick"),
    ],
)
def test_a_block_that_cannot_be_made_is_an_error(root: Path, text: str, expected: str) -> None:
    with pytest.raises(StoreError, match=expected):
        readme_blocks.filled(text, root / documents.PUBLISHED)


def test_timings_of_an_older_step_are_named_and_nothing_that_publish_could_make(root: Path) -> None:
    folder = root / documents.PUBLISHED / "t" / "timings"
    for path in sorted((registry.ROOT / documents.PUBLISHED / "speed" / "timings").iterdir()):
        files.write_json(folder / path.name, read_json(path) | {"step_version": 1})
    count = len([*folder.iterdir()])
    said = [one.partition(", which is ")[0] for one in documents.older(root)]
    assert said == [f"results/published/t: Stale: {count} of {count} timings are of version 1 of our step"]
