"""Sounds made here: speech-like, music-like, noise; and the spectra that networks read. Same seed, same samples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]


def speech(generator: np.random.Generator, count: int, length: int, rate: int = 16000) -> Sound:
    """Voices with syllables, pauses and some noise behind them, (count, length), within -1 to 1."""
    return np.stack([_voice(generator, length, rate) for _ in range(count)])


def music(generator: np.random.Generator, count: int, length: int, rate: int) -> Sound:
    """Chords of decaying notes, (count, length), within -1 to 1."""
    return np.stack([_chords(generator, length, rate) for _ in range(count)])


def _voice(generator: np.random.Generator, length: int, rate: int) -> Sound:
    time = np.arange(length) / rate
    rhythm = generator.uniform(2.5, 6)
    syllable = np.floor(time * rhythm + generator.random()).astype(int)
    syllable -= syllable[0]
    last = int(syllable[-1]) + 1
    pitch = generator.uniform(85, 260) * (1 + 0.12 * generator.standard_normal(last))[syllable]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = generator.uniform((300, 900, 2200), (800, 2200, 3200), (last, 3))
    sound = np.zeros(length)
    for harmonic in range(1, int(min(40, rate / 2 / 270))):
        near = np.exp(-(((harmonic * pitch)[:, None] - formants[syllable]) ** 2) / (2 * 180.0**2)).sum(1)
        sound += (near + 0.02) / harmonic**0.5 * np.sin(harmonic * phase)
    loud = (generator.random(last) < 0.8) * generator.uniform(0.4, 1, last)
    hiss = (generator.random(last) < 0.3)[syllable] * generator.normal(0, 0.15, length)
    envelope = loud[syllable] * np.abs(np.sin(np.pi * ((time * rhythm) % 1))) ** 0.5
    noise = generator.normal(0, 10 ** generator.uniform(-4, -1.5), length)
    return _scaled(generator, (sound + hiss) * envelope, noise)


def _chords(generator: np.random.Generator, length: int, rate: int) -> Sound:
    time, sound = np.arange(length) / rate, np.zeros(length)
    for start in np.arange(0, length / rate, generator.uniform(0.2, 0.6)):
        since = np.maximum(time - start, 0)
        for note in generator.integers(36, 84, generator.integers(1, 4)):
            frequency, decay = 440 * 2 ** ((note - 69) / 12), generator.uniform(1.5, 6)
            for harmonic in range(1, 7):
                if harmonic * frequency < rate / 2:
                    tone = np.sin(2 * np.pi * harmonic * frequency * since) / harmonic**1.5
                    sound += (since > 0) * np.exp(-decay * since) * tone
    return _scaled(generator, sound, generator.normal(0, 1e-3, length))


def _scaled(generator: np.random.Generator, sound: NDArray[np.float64], noise: NDArray[np.float64]) -> Sound:
    peak = max(float(np.abs(sound).max()), 1e-6)
    return np.clip(sound / peak * generator.uniform(0.1, 0.9) + noise, -1, 1).astype(np.float32)


def spectrum(sound: Sound, size: int, hop: int) -> NDArray[np.float64]:
    """The power of each frequency of each frame, (count, frames, size // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, size, axis=-1)[:, ::hop]
    power: NDArray[np.float64] = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2
    return power


def mel(power: NDArray[np.float64], bands: int, rate: int) -> NDArray[np.float64]:
    """The power in triangular bands, evenly spread over the mel scale, (count, frames, bands)."""
    bins = power.shape[-1]
    hertz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    edges = hertz / (rate / 2) * (bins - 1)
    place = np.arange(bins)[:, None]
    rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    bank: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) / np.maximum(edges[2:] - edges[:-2], 1e-9)
    return power @ bank


def decibels(power: NDArray[np.float64], span: float = 80.0) -> NDArray[np.float64]:
    """The same in dB below the greatest of each sound, at most ``span`` below."""
    greatest = np.maximum(power.max(axis=(1, 2), keepdims=True), 1e-10)
    relative: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 1e-10) / greatest)
    return np.maximum(relative, -span)


def rolled(step: Callable[..., dict[str, NDArray[np.float32]]], frames: Sound, state: Sound) -> tuple[Sound, Sound]:
    """Every 8th frame of each sound and the state that the network has reached before it.

    Args:
        step: The network: a frame and a state in, ``state`` after it out.
        frames: The sounds, cut into frames, (count, frames, size).
        state: The state at the start.
    """
    kept_frames, kept_states = [], []
    for sound in frames:
        now = state
        for number, frame in enumerate(sound):
            if number % 8 == 7:
                kept_frames.append(frame)
                kept_states.append(now)
            now = step(frame[None], now)["state"]
    return np.stack(kept_frames), np.stack(kept_states)
