"""Qwen2-VL (arXiv 2409.12191) and Qwen2.5-VL (arXiv 2502.13923): images and videos of any size, M-RoPE positions.

A tower takes patches; neighbouring ones (2 x 2) become one token. Pairs of frames share their tokens; an image is one
frame twice. Frames are resized by Pillow, each alone, where transformers' video processor resizes tensors: its
antialiased bicubic filter rounds otherwise, so videos that have to be resized differ by about one level of 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...data.records import Modality
from ..medium import AudioShape, Content, Grid, ImageShape, Inputs, Shape
from .family import Family, Tower, unsupported
from .files import ModelFiles
from .pixels import PixelSettings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

VIDEO_SIZE = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
"""Pixels of a frame, for files that say nothing."""

LARGEST_RATIO = 200
"""Of height and width, as in the reference implementation."""


@dataclass(frozen=True)
class Patches:
    """The settings of one of the two processors, and what they make of frames."""

    pixels: PixelSettings
    least: int
    most: int
    """Pixels of a resized frame."""
    patch: int
    merge: int
    """Patches along each edge of a token."""
    pair: int
    """Frames of a token."""
    video_tokens: int | None
    """If set, frames of long videos become smaller, so that all of them together keep to this many tokens."""

    @classmethod
    def read(cls, settings: Mapping[str, Any], size: Mapping[str, int]) -> Patches:
        """From a processor's file; ``size`` is the one of files that name none."""
        least = settings.get("min_pixels") or (settings.get("size") or size)["shortest_edge"]
        most = settings.get("max_pixels") or (settings.get("size") or size)["longest_edge"]
        capped = settings.get("cap_pixels_per_frame")
        return cls(
            PixelSettings.read(settings, steps=("do_resize",), resample=Image.Resampling.BICUBIC),
            int(least),
            int(most),
            int(settings.get("patch_size", 14)),
            int(settings.get("merge_size", 2)),
            int(settings.get("temporal_patch_size", 2)),
            int(settings.get("max_video_tokens", 128000)) if capped else None,
        )

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Pairs of frames, and patches along the height and the width of the resized frames."""
        most = self.most
        factor = self.patch * self.merge
        if self.video_tokens is not None:
            pixels = int(self.video_tokens * factor * factor * 0.9)
            most = max(min(most, pixels * self.pair // frames), int(self.least * 1.05))
        rows, columns = _resized(height, width, factor, self.least, most)
        return -(-frames // self.pair), rows // self.patch, columns // self.patch

    def prepare(self, frames: npt.NDArray[np.uint8]) -> Inputs:
        """``pixel_values`` ``[patches, 3 * pair * patch * patch]``, those of one token in a row, and ``grid_thw``.

        ``frames`` is ``[F, H, W, 3]``; the last one is repeated until all have partners.
        """
        grid = self.grid(*frames.shape[:3])
        pairs, rows, columns = grid
        resized = [self.pixels.resize(frame, rows * self.patch, columns * self.patch) for frame in frames]
        resized += [resized[-1]] * (pairs * self.pair - len(resized))
        cells = self.pixels.normalize(np.stack(resized)).reshape(
            pairs, self.pair,
            rows // self.merge, self.merge, self.patch,
            columns // self.merge, self.merge, self.patch, 3,
        )  # fmt: skip
        patches = cells.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(math.prod(grid), -1)
        return {"pixel_values": np.ascontiguousarray(patches), "grid_thw": np.array([grid], np.int64)}


class Qwen2VL(Family):
    """Positions of images and videos run along three axes."""

    architecture = "Qwen2VLForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {
        Modality.IMAGE: "<|image_pad|>",
        Modality.VIDEO: "<|video_pad|>",
    }

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        self._images = Patches.read(
            files.part("image_processor"), {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}
        )
        self._videos = self.read_videos(files)
        vision = files.config["vision_config"]
        for patches in (self._images, self._videos):
            found = [patches.patch, patches.merge, patches.pair]
            expected = [vision.get(k, d) for k, d in (("patch_size", 14), ("spatial_merge_size", 2))]
            expected.append(vision.get("temporal_patch_size", 2))
            if found != expected:
                raise unsupported("patch_size, merge_size and temporal_patch_size of the processor", found, expected)

    def read_videos(self, files: ModelFiles) -> Patches:
        """The settings of the video processor."""
        return Patches.read(files.part("video_processor"), VIDEO_SIZE)

    @property
    def towers(self) -> tuple[Tower, ...]:
        """One for images and videos together."""
        merge, pair, patch = self._images.merge, self._images.pair, self._images.patch
        grid = np.array([[1, merge, merge]], np.int64)
        pixels = np.zeros((merge * merge, 3 * pair * patch * patch), np.float32)
        return (
            Tower(
                frozenset({Modality.IMAGE, Modality.VIDEO}),
                ("visual",),
                see,
                lambda: {"pixel_values": pixels, "grid_thw": grid},
            ),
        )

    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """Those of the image processor or of the video processor."""
        patches = self._images if modality is Modality.IMAGE else self._videos
        values: Mapping[str, Any] = {**vars(patches), "pixels": vars(patches.pixels)}
        return values

    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """One token for four patches of each pair of frames."""
        assert not isinstance(shape, AudioShape), "the placeholders name no sound"
        if isinstance(shape, ImageShape):
            pairs, rows, columns = self._images.grid(1, shape.height, shape.width)
            times: tuple[int, ...] = (0,)
        else:
            pairs, rows, columns = self._videos.grid(shape.frames, shape.height, shape.width)
            times = self.times(pairs, self._videos.pair / shape.fps)
        rows, columns = rows // self._images.merge, columns // self._images.merge
        grid = Grid(times, rows, columns, self.extent(times, rows, columns))
        return grid.num_tokens, grid

    def times(self, pairs: int, seconds: float) -> tuple[int, ...]:
        """Positions of pairs of frames that are ``seconds`` apart: one after the other, whatever the rate."""
        del seconds
        return tuple(range(pairs))

    def extent(self, times: tuple[int, ...], rows: int, columns: int) -> int:
        """How far after a medium the text goes on: as transformers has it, a video's time does not count."""
        del times
        return max(rows, columns)

    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """See :meth:`Patches.prepare`."""
        return self._images.prepare(content[None]) if isinstance(shape, ImageShape) else self._videos.prepare(content)


class Qwen25VL(Qwen2VL):
    """As Qwen2-VL, with positions of a video that follow its time in seconds."""

    architecture = "Qwen2_5_VLForConditionalGeneration"

    def times(self, pairs: int, seconds: float) -> tuple[int, ...]:
        """Positions of pairs of frames that are ``seconds`` apart."""
        second = np.float32(self.files.config["vision_config"].get("tokens_per_second", 4))
        return tuple((np.arange(pairs, dtype=np.float32) * (second * np.float32(seconds))).astype(int).tolist())


def see(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    """Features of images and videos together, in one call of the tower."""
    tower = base.visual
    grid = inputs["grid_thw"]
    features: Tensor = tower(inputs["pixel_values"].to(tower.dtype), grid_thw=grid).pooler_output
    sizes: list[int] = (grid.prod(-1) // tower.spatial_merge_size**2).tolist()
    starts = accumulate(sizes, initial=0)
    return [features.narrow(0, start, size) for start, size in zip(starts, sizes, strict=False)]


def _resized(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """Multiples of ``factor`` in about the same proportion, of ``least`` to ``most`` pixels together.

    Raises ``ValueError`` for proportions that the model does not take.
    """
    if max(height, width) > LARGEST_RATIO * min(height, width):
        raise ValueError(
            f"found {height} x {width} pixels, expected at most {LARGEST_RATIO} times the shorter edge; crop it"
        )
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > most:
        shrink = math.sqrt(height * width / most)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif rows * columns < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return rows, columns
