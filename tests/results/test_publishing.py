"""What the documents show is what was published, and what is stale is found."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.publishing import blocks, documents, manifests, packing, pictures, thinning
from farreach.results.storage import files
from farreach.results.storage.files import StoreError, read_json
from farreach.results.storage.packed_set import DOCUMENTS, FILES, MANIFEST, is_packed
from farreach.results.storage.sets import open_set
from tests.support import synthetic
from tests.support.commands import run_command


def test_nothing_that_is_published_is_stale() -> None:
    """``python -m benchmarks publish`` makes again whatever is named here."""
    assert documents.list_stale(registry.ROOT) == []


def test_what_is_published_is_few_files_and_every_set_is_packed() -> None:
    published = registry.ROOT / documents.PUBLISHED
    names = subprocess.run(  # noqa: S603
        ["git", "ls-files", "-z", documents.PUBLISHED],  # noqa: S607
        cwd=registry.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")[:-1]
    assert 0 < len(names) <= 300
    assert sum((registry.ROOT / name).stat().st_size for name in names) <= 30e6  # and never above 60 MB
    folders = manifests.list_published(published)
    assert len(folders) == 13
    for folder in folders:
        assert is_packed(folder)
        store = open_set(folder)
        for key in sorted(store.list_finished()):
            steps = store.curves(key)["step"] if store.read_part("curves", key) is not None else []
            assert len(steps) <= thinning.LONGEST


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree with one small published set, its report and the documents that quote it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / documents.PUBLISHED / "quick"
    synthetic.write(root / "run", [synthetic.record(seed=seed) for seed in range(3)], runs=[synthetic.run_line()])
    packing.pack_set(root / "run", folder)
    assert run_command("report", str(folder)).returncode == 0
    (root / "README.md").write_text(
        "# A\n\n<!-- quick -->\nold\n<!-- end of quick -->\n\n<!-- summary -->\n<!-- end of summary -->\n"
    )
    (root / documents.PUBLISHED / "README.md").write_text("<!-- sets -->\n<!-- end of sets -->\n")
    documents.write_documents(root)
    (root / pictures.FOLDER).mkdir(parents=True)
    taken = {"quick": pictures.digest(folder)}
    (root / pictures.FOLDER / pictures.TAKEN).write_text(str(taken).replace("'", '"'))
    return root


@pytest.fixture
def root(project: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "root"))


def test_what_was_written_is_not_stale_and_is_written_once(root: Path) -> None:
    assert documents.list_stale(root) == []
    assert documents.write_documents(root) == []
    text = (root / "README.md").read_text()
    assert "Which clip threshold worked?" in text
    assert "| adding T=50 (adam 0.003) | lstm | none | 0.97, 3/3 |" in text
    assert "| quick | 3 |" in (root / documents.PUBLISHED / "README.md").read_text()


def test_the_manifest_says_what_the_set_holds(root: Path) -> None:
    found = read_json(root / documents.PUBLISHED / "quick" / MANIFEST)
    assert (found["cases"], found["seeds"], found["frameworks"]) == (3, [0, 1, 2], {"pytorch": ["2.13.0"]})
    assert found["files"]["rows.parquet"]["rows"] == 3
    assert found["files"]["curves.parquet"]["rows"] == 3 * len(synthetic.curves(synthetic.record())[0])
    assert found["command"] == ["python -m benchmarks run quick"]


@pytest.mark.parametrize("name", ["rows.parquet", "curves.parquet", "documents.json"])
def test_a_file_of_a_set_that_was_changed_is_named(root: Path, name: str) -> None:
    path = root / documents.PUBLISHED / "quick" / name
    path.write_bytes(path.read_bytes() + b" ")
    assert f"quick/{name} is damaged: its SHA-256 is not the one in manifest.json" in documents.list_stale(root)


def test_a_published_set_that_is_not_packed_is_named(root: Path) -> None:
    shutil.move(root / "run", root / documents.PUBLISHED / "another")
    (line,) = documents.list_stale(root)
    assert line.startswith("another is not packed: python -m benchmarks pack")


def test_a_manifest_with_other_facts_than_its_rows_is_stale(root: Path) -> None:
    path = root / documents.PUBLISHED / "quick" / MANIFEST
    files.write_json(path, read_json(path) | {"cases": 4})
    assert documents.list_stale(root) == ["results/published/quick/manifest.json does not give the facts of its rows"]


@pytest.mark.slow
def test_a_new_row_makes_report_documents_and_pictures_stale(root: Path) -> None:
    folder = root / documents.PUBLISHED / "quick"
    synthetic.write(root / "run", [synthetic.record(seed=3, solved=False, loss=0.1, steps_to_solve=None)])
    packing.pack_set(root / "run", folder)
    assert [one.rpartition("/")[2] for one in documents.list_stale(root)] == [
        "report.md does not give the answers of its rows",
        "report.md does not show the answers of its rows at a glance",
        "report.md does not have the compact table of its rows",
    ]
    documents.write_documents(root)
    assert documents.list_stale(root) == [f"the pictures in {pictures.FOLDER} were taken from other rows"]


@pytest.mark.slow
def test_figures_that_no_document_shows_are_removed_with_their_links(root: Path) -> None:
    folder = root / documents.PUBLISHED / "quick"
    (root / "docs").mkdir(exist_ok=True)
    (root / documents.PAGES[0]).write_text("![b](../results/published/quick/figures/skill-adding.png)\n")
    assert run_command("report", str(folder)).returncode == 0
    assert len([*(folder / "figures").iterdir()]) > 1
    documents.write_documents(root)
    assert [path.name for path in (folder / "figures").iterdir()] == ["skill-adding.png"]
    assert not (folder / "tables").exists()
    assert re.findall(r"\]\((figures/[^)]+)\)", (folder / "report.md").read_text()) == ["figures/skill-adding.png"]
    assert documents.list_stale(root) == []
    (folder / "figures" / "skill-adding.png").unlink()
    documents.write_documents(root)
    assert [path.name for path in (folder / "figures").iterdir()] == ["skill-adding.png"]


def test_a_document_that_was_changed_by_hand_is_stale(root: Path) -> None:
    path = root / "README.md"
    path.write_text(path.read_text().replace("0.97", "0.98"))
    assert documents.list_stale(root) == ["README.md is stale"]
    assert documents.write_documents(root) == [path]
    assert documents.list_stale(root) == []


def test_links_of_a_block_lead_from_where_its_document_stands(root: Path) -> None:
    text = "<!-- scaling -->\n<!-- end of scaling -->\n"
    copy_set("scaling", root)
    published = root / documents.PUBLISHED
    for folder, place in ((root, "results/published"), (root / "docs", "../results/published"), (published, ".")):
        links = re.findall(r"\]\(([^)]+)\)", blocks.fill_blocks(text, published, folder))
        assert links[0] == f"{place}/scaling/speed.md"
        assert f"{place}/scaling/figures/growth-T.png" in links[1:]


def test_the_figures_that_documents_show_are_listed_and_a_missing_one_is_named(root: Path) -> None:
    figure = root / documents.PUBLISHED / "quick" / "figures" / "skill-adding.png"
    (root / "docs").mkdir(exist_ok=True)
    page = root / documents.PAGES[0]
    page.write_text("![a](pictures/page.png) ![b](../results/published/quick/figures/skill-adding.png)\n")
    assert documents.list_figures(root) == [figure]
    figure.unlink(missing_ok=True)
    missing = "results/published/quick/figures/skill-adding.png is shown by a document and not there"
    assert missing in documents.list_stale(root)


def test_every_block_stands_in_one_document() -> None:
    texts = [(registry.ROOT / name).read_text() for name in documents.DOCUMENTS]
    for name in blocks.BLOCKS:
        assert sum(f"<!-- {name} -->" in text for text in texts) == 1, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!-- nobody -->\n<!-- end of nobody -->", "no generator for block nobody"),
        ("<!-- quick -->\n", "a block is not closed: quick"),
    ],
)
def test_a_block_that_cannot_be_made_is_an_error(root: Path, text: str, expected: str) -> None:
    with pytest.raises(StoreError, match=expected):
        blocks.fill_blocks(text, root / documents.PUBLISHED, root)


def test_timings_of_an_older_step_are_named_and_nothing_that_publish_could_make(root: Path) -> None:
    folder = copy_set("speed", root)
    content = read_json(folder / DOCUMENTS)
    timed = [name for name in content if name.startswith("timings/")]
    for name in timed:
        content[name]["step_version"] = 1
    files.write_json(folder / DOCUMENTS, content)
    manifest = read_json(folder / MANIFEST)
    manifest["files"][DOCUMENTS]["sha256"] = hashlib.sha256((folder / DOCUMENTS).read_bytes()).hexdigest()
    files.write_json(folder / MANIFEST, manifest)
    said = [one.partition(", which is ")[0] for one in documents.list_old_timings(root)]
    assert said == [
        f"results/published/speed: Stale: {len(timed)} of {len(timed)} timings are of version 1 of our step"
    ]


def copy_set(name: str, root: Path) -> Path:
    """Copy the files of a published set, without its reports."""
    source, folder = (place / documents.PUBLISHED / name for place in (registry.ROOT, root))
    folder.mkdir()
    for one in (MANIFEST, *FILES):
        if (source / one).exists():
            shutil.copy(source / one, folder / one)
    return folder
