"""Log-mel spectrograms as Whisper's feature extractor makes them (arXiv 2212.04356), in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .family import unsupported

SAMPLING_RATE = 16000


@dataclass(frozen=True)
class LogMel:
    """The settings of a Whisper feature extractor, and what it makes of a sound."""

    bins: int
    window: int
    hop: int
    seconds: int
    """Every spectrogram is this long; shorter sounds are followed by silence."""

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> LogMel:
        """From a feature extractor's file."""
        for name, only in (("sampling_rate", SAMPLING_RATE), ("dither", 0.0)):
            if settings.get(name, only) not in (only, None):
                raise unsupported(name, settings[name], only)
        return cls(
            int(settings["feature_size"]),
            int(settings.get("n_fft", 400)),
            int(settings.get("hop_length", 160)),
            int(settings.get("chunk_length", 30)),
        )

    @property
    def samples(self) -> int:
        """Samples of a whole spectrogram."""
        return self.seconds * SAMPLING_RATE

    @property
    def columns(self) -> int:
        """Columns of a whole spectrogram."""
        return self.samples // self.hop

    def columns_of(self, samples: int) -> int:
        """Columns that a sound of ``samples`` fills.

        Raises ``ValueError`` if it does not fit: a sound is not cut.
        """
        if not 0 < samples <= self.samples:
            raise ValueError(
                f"found {samples / SAMPLING_RATE:.2f} seconds, expected more than 0 and at most {self.seconds}; "
                "cut it into pieces"
            )
        return -(-samples // self.hop)

    def prepare(self, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``[bins, columns]`` of ``sound`` ``[samples]``, all relative to the loudest of them.

        What follows the sound is silence, whose spectrum is known; only what the sound reaches is transformed.
        """
        whole = np.zeros(self.samples, np.float64)
        whole[: len(sound)] = sound
        padded = np.pad(whole, self.window // 2, mode="reflect")
        reached = min(self.columns, (len(sound) + self.window // 2) // self.hop + 1)
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop][:reached]
        power = np.abs(np.fft.rfft(frames * self._hann, axis=1)) ** 2
        mel = np.zeros((self.bins, self.columns))
        mel[:, :reached] = self._filters.T @ power.T
        loudness = np.log10(np.maximum(mel, 1e-10))
        return np.asarray((np.maximum(loudness, loudness.max() - 8) + 4) / 4, np.float32)

    @property
    def parameters(self) -> dict[str, int]:
        """What decides how a sound is prepared."""
        return {"bins": self.bins, "window": self.window, "hop": self.hop, "seconds": self.seconds}

    @cached_property
    def _hann(self) -> npt.NDArray[np.float64]:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)

    @cached_property
    def _filters(self) -> npt.NDArray[np.float64]:
        """``[window // 2 + 1, bins]``: triangles of unit area on Slaney's scale, up to 8 kHz."""
        frequencies = np.linspace(0, SAMPLING_RATE / 2, self.window // 2 + 1)
        edges = _hertz(np.linspace(_mels(np.array(0.0)), _mels(np.array(8000.0)), self.bins + 2))
        widths = np.diff(edges)
        slopes = edges[None, :] - frequencies[:, None]
        rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
        return np.asarray(np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2])))


_LINEAR_END, _MELS_AT_END, _STEP = 1000.0, 15.0, 27.0 / np.log(6.4)
"""Slaney's scale is linear up to 1 kHz (15 mels), then 27 mels for each factor of 6.4."""


def _mels(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    high = _MELS_AT_END + np.log(np.maximum(hertz, _LINEAR_END) / _LINEAR_END) * _STEP
    return np.where(hertz >= _LINEAR_END, high, 3 * hertz / 200)


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mels >= _MELS_AT_END, _LINEAR_END * np.exp((mels - _MELS_AT_END) / _STEP), 200 * mels / 3)
