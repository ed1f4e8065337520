"""Digits pixel by pixel: the images, their order, the split, and images from the hub."""

from __future__ import annotations

import io
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from farreach.tasks import base, data, digits

PLAIN = digits.Task()


def everything(task: digits.Task) -> base.Batch:
    return next(task.batches(0, 1_437))  # one epoch


def test_an_image_is_read_from_its_top_left_to_its_bottom_right() -> None:
    """The first row of the source, a zero, which the training split has."""
    zero = "0 0 5 13 9 1 0 0  0 0 13 15 10 15 5 0  0 3 15 2 0 11 8 0  0 4 12 0 0 8 8 0"
    zero += "  0 5 8 0 0 9 8 0  0 4 11 0 1 12 7 0  0 2 14 5 10 12 0 0  0 0 6 13 10 0 0 0"
    images = np.concatenate([everything(PLAIN).inputs, PLAIN.evaluation().inputs])[..., 0]
    labels = np.concatenate([everything(PLAIN).targets, PLAIN.evaluation().targets])[:, 0]
    found = (images == np.array(zero.split(), np.float32) / 16).all(axis=1)
    assert found.sum() == 1
    assert labels[found] == 0


def test_pixels_reach_from_0_to_1_and_nothing_else() -> None:
    for inputs in (everything(PLAIN).inputs, PLAIN.evaluation().inputs):
        assert inputs.min() == 0
        assert inputs.max() == 1
        assert len(np.unique(inputs)) == 17


def test_the_permutation_is_fixed_and_moves_the_pixels_of_every_image_alike() -> None:
    plain, permuted = PLAIN.evaluation(), digits.Task(permuted=True).evaluation()
    np.testing.assert_array_equal(permuted.inputs, plain.inputs[:, digits.order(64)])
    np.testing.assert_array_equal(permuted.targets, plain.targets)
    assert sorted(digits.order(64)) == list(range(64))
    moved = np.abs(np.diff(digits.order(64)))
    assert np.median(moved) > 8  # neighbours are no neighbours any more
    ours, theirs = next(PLAIN.batches(4, 9)), next(digits.Task(permuted=True).batches(4, 9))
    np.testing.assert_array_equal(theirs.inputs, ours.inputs[:, digits.order(64)])


def test_the_permutation_is_the_one_that_it_was() -> None:
    assert digits.order(64)[:8].tolist() == [30, 37, 49, 50, 40, 28, 12, 15]


def test_delay_appends_blanks_and_changes_nothing_else() -> None:
    plain, late = PLAIN.evaluation(), digits.Task(delay=7).evaluation()
    assert digits.Task(delay=7).length == 71
    np.testing.assert_array_equal(late.inputs[:, :64], plain.inputs)
    assert (late.inputs[:, 64:] == 0).all()


def test_split_is_stratified_and_has_every_image_once() -> None:
    train, evaluation = everything(PLAIN), PLAIN.evaluation()
    np.testing.assert_array_equal(np.bincount(evaluation.targets[:, 0]), 36)
    both = np.bincount(np.concatenate([train.targets, evaluation.targets])[:, 0])
    assert both.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize("permuted", [False, True])
def test_no_training_image_is_an_evaluation_image(*, permuted: bool) -> None:
    task = digits.Task(permuted=permuted)
    training = {row.tobytes() for row in everything(task).inputs}
    assert len(training) == 1_437
    assert training.isdisjoint(row.tobytes() for row in task.evaluation().inputs)


def test_floor_is_the_loss_of_the_digits_frequencies() -> None:
    usual = np.log(np.bincount(everything(PLAIN).targets[:, 0]) / 1_437)
    metrics = PLAIN.evaluate(lambda inputs: np.broadcast_to(usual, (len(inputs), 1, 10)))
    assert metrics["loss"] == pytest.approx(PLAIN.floor)
    assert metrics["accuracy"] == pytest.approx(0.1)
    assert PLAIN.floor == pytest.approx(np.log(10), abs=1e-3)


@pytest.mark.parametrize(("accuracy", "solved"), [(0.9, True), (0.899, False)])
def test_solved_is_an_accuracy_of_90_per_cent(*, accuracy: float, solved: bool) -> None:
    assert PLAIN.solved({"accuracy": accuracy}) is solved


# Images from the hub, which are made here.


def png(pixels: base.Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def draw_images(count: int, first: int = 0, size: int = 5) -> list[base.Array]:
    random = np.random.default_rng(first)
    return [random.integers(0, 256, (size, size), dtype=np.uint8) for _ in range(count)]


def offered(images: list[Any], **columns: Any) -> datasets.Dataset:
    cells = [{"bytes": png(one) if isinstance(one, np.ndarray) else one, "path": None} for one in images]
    rows = {"image": cells, "label": [row % 10 for row in range(len(images))]} | columns
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image(decode=False))


def offer(monkeypatch: pytest.MonkeyPatch, **splits: datasets.Dataset) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(splits))
    monkeypatch.setenv(data.ALLOWED, "1")
    digits._corpus.cache_clear()  # noqa: SLF001 - every test offers another corpus


def test_hub_images_become_the_same_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = draw_images(30), draw_images(12, first=1)
    offer(monkeypatch, train=offered(train), test=offered(test))
    task = digits.Task(source="hub:someone/images")
    assert task.length == 25
    np.testing.assert_allclose(task.evaluation().inputs[..., 0] * 255, np.stack(test).reshape(12, 25), atol=1e-4)
    assert task.evaluation().targets[:, 0].tolist() == [row % 10 for row in range(12)]
    batch = next(task.batches(0, 30))
    assert {row.tobytes() for row in (batch.inputs * 255).round().astype(np.uint8)} == {one.tobytes() for one in train}
    assert 0 < task.floor < 3


def test_a_training_image_that_the_evaluation_split_has_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    test = draw_images(5, first=1)
    offer(monkeypatch, train=offered(draw_images(20) + test[:3]), test=offered(test))
    task = digits.Task(source="hub:someone/leaks")
    drawn_rows = {row.tobytes() for row in next(task.batches(0, 40)).inputs}
    assert len(drawn_rows) == 20
    assert drawn_rows.isdisjoint(row.tobytes() for row in task.evaluation().inputs)


def test_colours_become_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    white = np.full((3, 3, 3), 255, np.uint8)
    offer(monkeypatch, train=offered(draw_images(20, size=3)), test=offered([white]))
    np.testing.assert_array_equal(digits.Task(source="hub:someone/colours").evaluation().inputs, 1)


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        (offered(draw_images(4)).remove_columns("label"), "it must have 'image' and 'label'"),
        (offered(draw_images(4), label=[0, 1, 2, 12]), "digits 0 to 9"),
        (offered(draw_images(2, first=1)), r"digits \[\] to train on and \[0, 1\] to evaluate on"),
        (offered(draw_images(4), label=[2, 2, 2, 2]), r"digits \[2\] to train on"),
        (offered(draw_images(3) + draw_images(1, size=4)), "images of 2 sizes; all must be of one size"),
        (offered(draw_images(4, size=4)), "images of 16 and of 25 pixels; all must be of one size"),
        (offered([b"no image"]), "an image that cannot be read"),
        (offered([None]), "an image that cannot be read"),
    ],
)
def test_hub_set_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, train: datasets.Dataset, complaint: str
) -> None:
    offer(monkeypatch, train=train, test=offered(draw_images(2, first=1)))
    with pytest.raises(base.TaskError, match=complaint) as caught:
        digits.Task(source="hub:someone/else").evaluation()
    assert "\n" not in str(caught.value)
