"""MFCCs as the shipped digits have them, for the larger sets of recorded speech.

The recipe is that of the shipped features: 8 kHz, windows of 400 samples every 200 (Hann, centred,
mirrored at the ends), power, 128 triangular HTK mel bands from 0 to 4 kHz, decibels cut 80 below
the loudest, orthonormal DCT-II, 13 coefficients. Davis and Mermelstein, "Comparison of parametric
representations for monosyllabic word recognition in continuously spoken sentences", IEEE
Transactions on Acoustics, Speech, and Signal Processing 28(4), 1980.
"""

from __future__ import annotations

import functools
import io
import wave

import numpy as np

from farreach.tasks.base import Array

RATE = 8_000
WINDOW = 400
HOP = 200
BANDS = 128
COEFFICIENTS = 13
DYNAMIC_RANGE = 80.0
QUIETEST = 1e-10


def decode(sound: bytes) -> tuple[Array, int]:
    """Return the samples of a 16-bit WAV file, [-1, 1) float64, channels averaged, and its rate.

    Raises:
        ValueError: The bytes are no WAV file of 16 bits a sample.

    """
    try:
        with wave.open(io.BytesIO(sound)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        message = f"the audio is no PCM WAV file ({error})"
        raise ValueError(message) from error
    if width != np.dtype("<i2").itemsize:
        message = f"the audio has {8 * width} bits a sample; it must have 16"
        raise ValueError(message)
    samples = np.frombuffer(frames, "<i2").reshape(-1, channels)
    return samples.mean(axis=1) / 2**15, rate


def resample(samples: Array, rate: int) -> Array:
    """Bring `samples` to 8 kHz by cutting or padding their Fourier transform."""
    wanted = round(len(samples) * RATE / rate)
    spectrum = np.fft.rfft(samples)[: wanted // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, wanted) * (wanted / len(samples)))


def mfcc(samples: Array) -> Array:
    """Return 13 coefficients a frame, [frames, 13] float32, of samples at 8 kHz."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect" if len(samples) > WINDOW // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * _hann())) ** 2
    decibels = 10 * np.log10(np.maximum(power @ _mel_bands(), QUIETEST))
    audible = np.maximum(decibels, decibels.max() - DYNAMIC_RANGE)
    return np.asarray(audible @ _cosines(), np.float32)


@functools.cache
def _hann() -> Array:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))


@functools.cache
def _mel_bands() -> Array:
    """Return the triangles, [201, 128], evenly spaced on the HTK mel scale."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)  # hertz
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


@functools.cache
def _cosines() -> Array:
    """Return the orthonormal DCT-II, [128, 13]."""
    angles = np.pi / BANDS * (np.arange(BANDS)[:, None] + 0.5) * np.arange(COEFFICIENTS)
    scale = np.full(COEFFICIENTS, np.sqrt(2 / BANDS))
    scale[0] = np.sqrt(1 / BANDS)
    return np.asarray(np.cos(angles) * scale)
