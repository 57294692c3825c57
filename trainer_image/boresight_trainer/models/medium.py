"""Media of prompts as models see them: measured before they are decoded, placed among tokens, loaded late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.records import Modality


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What is known of an image before it is decoded: its size in pixels, after rotation."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class AudioShape:
    """The number of samples that a sound will have, mono at 16 kHz."""

    samples: int


@dataclass(frozen=True, slots=True)
class VideoShape:
    """A video as it will be sampled: the number of frames taken and how many of them a second, and their size."""

    frames: int
    height: int
    width: int
    fps: float


Shape = ImageShape | AudioShape | VideoShape
Content = npt.NDArray[Any]
"""Decoded media: image ``[H, W, 3]`` uint8, sound ``[samples]`` float32, video ``[F, H, W, 3]`` uint8."""

Inputs = Mapping[str, npt.NDArray[Any]]
"""What a tower takes for one medium, by name; arrays of several media are concatenated along their first axis."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How the tokens of a medium count positions on three axes (M-RoPE, arXiv 2409.12191): time, row, column."""

    times: tuple[int, ...]
    """Position of each of its frames, the first being 0."""
    rows: int
    columns: int
    extent: int
    """How far after the medium's first position the next token stands."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all frames."""
        return len(self.times) * self.rows * self.columns

    def positions(self) -> npt.NDArray[np.int64]:
        """``[3, num_tokens]``, relative to the first token."""
        axes = np.meshgrid(self.times, np.arange(self.rows), np.arange(self.columns), indexing="ij")
        return np.stack([axis.reshape(-1) for axis in axes]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Medium:
    """One image, sound or video as one family of models sees it. Equal ``id``, equal features."""

    id: str
    """Names the content, its shape and the parameters of the family's processor."""
    digest: str
    """Names the content alone."""
    shape: Shape
    num_tokens: int
    """Placeholder tokens, as many as the tower makes features."""
    grid: Grid | None = None
    """None where the tokens count positions as text does."""

    @property
    def modality(self) -> Modality:
        """What it is, as its shape says."""
        return modality_of(self.shape)


def modality_of(shape: Shape) -> Modality:
    """What a shape describes."""
    match shape:
        case ImageShape():
            return Modality.IMAGE
        case AudioShape():
            return Modality.AUDIO
        case VideoShape():
            return Modality.VIDEO


MediaLoader = Callable[[Medium], Inputs]
"""Decodes and prepares a medium. Called only for media whose features are not known yet."""


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """The placeholder tokens of ``medium``, from token ``start`` of a segment on."""

    start: int
    medium: Medium

    @property
    def stop(self) -> int:
        """The first token after them."""
        return self.start + self.medium.num_tokens


def segment_positions(length: int, media: Sequence[MediaSpan]) -> tuple[npt.NDArray[np.int64], int]:
    """``[3, length]`` positions of a segment's tokens on the axes of M-RoPE, from 0, and the one that comes next."""
    parts: list[npt.NDArray[np.int64]] = []
    position = token = 0
    for span in media:
        parts.append(_running(position, span.start - token))
        position += span.start - token
        grid = span.medium.grid
        if grid is None:
            parts.append(_running(position, span.medium.num_tokens))
            position += span.medium.num_tokens
        else:
            parts.append(grid.positions() + position)
            position += grid.extent
        token = span.stop
    parts.append(_running(position, length - token))
    return np.concatenate(parts, axis=1), position + length - token


def chain_positions(
    lengths: Sequence[int], parents: Sequence[int | None], media: Sequence[Sequence[MediaSpan]]
) -> tuple[npt.NDArray[np.int64], list[int]]:
    """``[3, tokens]`` positions of segments that continue their parents, and the position after each segment."""
    parts: list[npt.NDArray[np.int64]] = [np.zeros((3, 0), np.int64)]
    following: list[int] = []
    for length, parent, spans in zip(lengths, parents, media, strict=True):
        start = 0 if parent is None else following[parent]
        positions, extent = segment_positions(length, spans)
        parts.append(positions + start)
        following.append(start + extent)
    return np.concatenate(parts, axis=1), following


def _running(start: int, length: int) -> npt.NDArray[np.int64]:
    return np.broadcast_to(np.arange(start, start + length, dtype=np.int64), (3, length))
