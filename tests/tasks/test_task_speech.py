"""Spoken digits: standardisation, padding, delay, the split, and recordings from the hub."""

from __future__ import annotations

import io
import itertools
import math
import wave
from typing import Any

import datasets
import numpy as np
import pytest
import scipy.fft
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from farreach.tasks import base, data, speech
from farreach.tasks.data import mfcc

PLAIN = speech.Task(delay=0)


def everything(task: speech.Task) -> base.Batch:
    return next(task.batches(0, 2_700))  # one epoch


def heard(inputs: base.Array) -> base.Array:
    """Return the frames that are no padding, [frames, 13]."""
    return inputs[(inputs != 0).any(axis=-1)]


def test_training_frames_have_mean_zero_and_deviation_one() -> None:
    frames = heard(everything(PLAIN).inputs)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=1e-4)


def test_evaluation_frames_are_standardised_by_the_training_split_alone() -> None:
    mean = heard(PLAIN.evaluation().inputs).mean(axis=0)
    assert np.abs(mean).max() < 0.2
    assert np.abs(mean).max() > 1e-3


def test_padding_stands_on_the_left() -> None:
    silent = (everything(PLAIN).inputs == 0).all(axis=-1)
    assert not silent[:, -1].any()
    assert silent[:, 0].mean() > 0.9
    assert (np.diff(silent.astype(int), axis=1) <= 0).all()  # once speech has begun it goes on


@pytest.mark.parametrize("delay", [1, 20, 60])
def test_delay_appends_silence_and_changes_nothing_else(delay: int) -> None:
    batch, plain = speech.Task(delay=delay).evaluation(), PLAIN.evaluation()
    assert batch.inputs.shape[1] == 40 + delay
    assert (batch.inputs[:, 40:] == 0).all()
    np.testing.assert_array_equal(batch.inputs[:, :40], plain.inputs)
    np.testing.assert_array_equal(batch.targets, plain.targets)


def test_split_is_stratified_by_digit() -> None:
    np.testing.assert_array_equal(np.bincount(PLAIN.evaluation().targets[:, 0]), 30)
    np.testing.assert_array_equal(np.bincount(everything(PLAIN).targets[:, 0]), 270)


def test_no_training_utterance_is_an_evaluation_utterance() -> None:
    training = {row.tobytes() for row in everything(PLAIN).inputs}
    assert len(training) == 2_700
    assert training.isdisjoint(row.tobytes() for row in PLAIN.evaluation().inputs)


def test_floor_is_the_loss_of_a_uniform_guess() -> None:
    metrics = speech.Task().evaluate(lambda inputs: np.zeros((len(inputs), 1, 10)))
    assert metrics["loss"] == pytest.approx(speech.Task().floor)
    assert metrics["accuracy"] == pytest.approx(0.1)


@pytest.mark.parametrize(("accuracy", "solved"), [(0.95, True), (0.949, False)])
def test_solved_is_an_accuracy_of_95_per_cent(*, accuracy: float, solved: bool) -> None:
    assert speech.Task().solved({"accuracy": accuracy}) is solved


# Recordings: what the hub holds is made here.


def wav(samples: base.Array, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes((samples * 2**15).astype("<i2").tobytes())
    return sound.getvalue()


def tone(hertz: float, seconds: float = 0.5, rate: int = 16_000) -> base.Array:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def recordings(count: int, first: int = 0, **columns: Any) -> datasets.Dataset:
    sounds = [{"bytes": wav(tone(200 + 10 * row)), "path": None} for row in range(first, first + count)]
    rows = {"audio": sounds, "digit": [row % 10 for row in range(count)]} | columns
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))


def offer(monkeypatch: pytest.MonkeyPatch, **splits: datasets.Dataset) -> list[Any]:
    """Make load_dataset return these splits; return the list in which its calls are noted."""
    calls: list[Any] = []

    def load_dataset(*arguments: Any, **options: Any) -> datasets.DatasetDict:
        calls.append((arguments, options))
        return datasets.DatasetDict(splits)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv(data.ALLOWED, "1")
    speech._corpus.cache_clear()  # noqa: SLF001 - every test offers another corpus
    return calls


def test_hub_recordings_become_the_same_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = offer(monkeypatch, train=recordings(20), test=recordings(5, first=50))
    task = speech.Task(delay=3, source="hub:someone/digits:small@v1")
    batch = next(task.batches(0, 20))
    assert batch.inputs.shape == (20, 43, 13)
    assert batch.inputs.dtype == np.float32
    np.testing.assert_allclose(heard(batch.inputs).mean(axis=0), 0, atol=1e-4)
    assert len(task.evaluation().inputs) == 5
    assert calls == [(("someone/digits", "small"), {"revision": "v1"})]


def test_hub_set_without_a_test_split_has_its_last_tenth_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, train=recordings(30))
    task = speech.Task(source="hub:someone/one-split")
    np.testing.assert_array_equal(task.evaluation().targets[:, 0], [7, 8, 9])


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        (recordings(4).remove_columns("digit"), "'digit' or 'label'"),
        (recordings(4, digit=[0, 1, 2, 12]), "digits 0 to 9"),
        (recordings(4, audio=[{"bytes": b"no sound", "path": None}] * 4), "cannot be read"),
    ],
)
def test_hub_set_of_another_kind_is_refused(
    monkeypatch: pytest.MonkeyPatch, train: datasets.Dataset, complaint: str
) -> None:
    offer(monkeypatch, train=train, test=recordings(2))
    with pytest.raises(base.TaskError, match=complaint):
        speech.Task(source="hub:someone/else").evaluation()


def test_hub_set_without_a_training_split_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, test=recordings(2))
    with pytest.raises(base.TaskError, match="one of them must be 'train'"):
        speech.Task(source="hub:someone/tests-only").evaluation()


# The coefficients.


@given(st.integers(10, 3_000))
def test_frames_are_25_ms_apart(samples: int) -> None:
    noise = np.random.default_rng(0).normal(size=samples)
    assert mfcc.mfcc(noise).shape == (1 + samples // mfcc.HOP, 13)


def test_wav_decodes_to_its_samples() -> None:
    samples = tone(440)
    decoded, rate = mfcc.decode(wav(samples))
    assert rate == 16_000
    np.testing.assert_allclose(decoded, samples, atol=2**-15)
    stereo = np.stack([samples, -samples], axis=1).ravel()
    np.testing.assert_allclose(mfcc.decode(wav(stereo, channels=2))[0], 0, atol=2**-15)


@pytest.mark.parametrize("sound", [b"", b"RIFF", wav(tone(440), width=1)], ids=["empty", "cut", "8 bits"])
def test_what_is_no_16_bit_wav_is_refused(sound: bytes) -> None:
    with pytest.raises(ValueError, match="audio"):
        mfcc.decode(sound)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 6_000])
def test_resampling_agrees_with_scipy(rate: int) -> None:
    samples = np.random.default_rng(0).normal(size=rate // 10 + 1)
    expected = scipy.signal.resample(samples, round(len(samples) * mfcc.RATE / rate))
    # The two differ in the one bin at half the new rate.
    assert np.abs(mfcc.resample(samples, rate) - expected).max() < 0.1
    tones = tone(440, rate=rate)
    np.testing.assert_allclose(mfcc.resample(tones, rate)[100:-100], tone(440, rate=8_000)[100:-100], atol=1e-2)


def test_coefficients_are_an_orthonormal_dct() -> None:
    values = np.random.default_rng(0).normal(size=(3, mfcc.BANDS))
    expected = scipy.fft.dct(values, norm="ortho")[:, :13]
    np.testing.assert_allclose(values @ mfcc._cosines(), expected, atol=1e-12)  # noqa: SLF001


def test_louder_speech_changes_the_first_coefficient_alone() -> None:
    noise = np.random.default_rng(0).normal(size=2_000)
    difference = mfcc.mfcc(10 * noise) - mfcc.mfcc(noise)
    np.testing.assert_allclose(difference[:, 0], 20 * math.sqrt(mfcc.BANDS), rtol=1e-4)
    np.testing.assert_allclose(difference[:, 1:], 0, atol=1e-3)


def test_epochs_are_shuffled_anew() -> None:
    first, second = itertools.islice(PLAIN.batches(0, 2_700), 2)
    assert not np.array_equal(first.targets, second.targets)
    assert {row.tobytes() for row in first.inputs} == {row.tobytes() for row in second.inputs}
