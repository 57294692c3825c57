"""LLaVA-NeXT (LLaVA 1.6): an image is seen whole, and again in squares of a grid that fits its proportions.

The grid's tokens lie in rows, each ended by a token that is learned; what only pads the image to the grid is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from ...data.records import Modality
from ..medium import Content, Grid, ImageShape, Inputs, Shape
from .clip_images import unused_layers
from .family import Family, Tower, unsupported
from .files import ModelFiles
from .pixels import Pixels, PixelSettings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class LlavaNext(Family):
    """The squares of the processor's file must be the tower's image size, and both must name the same grids."""

    architecture = "LlavaNextForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {Modality.IMAGE: "<image>"}

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        settings, config = files.part("image_processor"), files.config
        steps = ("do_resize", "do_center_crop", "do_pad")
        self._pixels = PixelSettings.read(settings, steps=steps, resample=Image.Resampling.BICUBIC)
        vision = config["vision_config"]
        if vision["model_type"] != "clip_vision_model":
            raise unsupported("vision_config.model_type", vision["model_type"], "clip_vision_model")
        self.untrained = unused_layers(config)
        self._edge, self._patch = int(vision.get("image_size", 224)), int(vision.get("patch_size", 32))
        self._grids = [(int(height), int(width)) for height, width in settings["image_grid_pinpoints"]]
        for setting, found, expected in (
            ("size", settings["size"], {"shortest_edge": self._edge}),
            ("crop_size", settings["crop_size"], {"height": self._edge, "width": self._edge}),
            ("image_grid_pinpoints", [list(grid) for grid in self._grids], config["image_grid_pinpoints"]),
            ("vision_feature_select_strategy", config.get("vision_feature_select_strategy", "default"), "default"),
        ):
            if found != expected:
                raise unsupported(setting, found, expected)

    @property
    def towers(self) -> tuple[Tower, ...]:
        """CLIP with the projector and the token that ends rows."""
        smallest = ImageShape(self._edge, self._edge)
        return (
            Tower(
                frozenset({Modality.IMAGE}),
                ("vision_tower", "multi_modal_projector", "image_newline"),
                _features,
                lambda: self.prepare(np.zeros((smallest.height, smallest.width, 3), np.uint8), smallest),
            ),
        )

    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """The image processor's."""
        del modality
        return {"pixels": vars(self._pixels), "edge": self._edge, "grids": self._grids}

    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """Tokens of the whole image, then of the grid's rows that show something of it."""
        assert isinstance(shape, ImageShape), "the placeholders name images alone"
        along = self._edge // self._patch
        height, width = _best_grid(shape.height, shape.width, self._grids)
        rows, columns = height // self._edge * along, width // self._edge * along
        if shape.width / shape.height > columns / rows:
            shown = int(round(shape.height * (columns / shape.width), 7))
            rows -= (rows - shown) // 2 * 2
        else:
            shown = int(round(shape.width * (rows / shape.height), 7))
            columns -= (columns - shown) // 2 * 2
        return along * along + rows * (columns + 1), None

    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """``pixel_values`` ``[1 + squares, 3, edge, edge]`` and ``image_sizes`` ``[1, 2]``."""
        del shape
        height, width = content.shape[:2]
        grid = _best_grid(height, width, self._grids)
        whole = self._pixels.resize(content, self._edge, self._edge)
        padded = self._on_canvas(content, *grid)
        rows, columns = grid[0] // self._edge, grid[1] // self._edge
        squares = padded.reshape(rows, self._edge, columns, self._edge, 3).transpose(0, 2, 1, 3, 4)
        together = np.concatenate([whole[None], squares.reshape(-1, self._edge, self._edge, 3)])
        return {
            "pixel_values": np.ascontiguousarray(self._pixels.normalize(together).transpose(0, 3, 1, 2)),
            "image_sizes": np.array([[height, width]], np.int64),
        }

    def _on_canvas(self, image: Pixels, height: int, width: int) -> Pixels:
        """``image`` as large as fits into ``[height, width, 3]``, in the middle of black."""
        scale_height, scale_width = height / image.shape[0], width / image.shape[1]
        if scale_width < scale_height:
            resized = self._pixels.resize(image, min(math.ceil(image.shape[0] * scale_width), height), width)
        else:
            resized = self._pixels.resize(image, height, min(math.ceil(image.shape[1] * scale_height), width))
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - resized.shape[0]) // 2, (width - resized.shape[1]) // 2
        canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
        return canvas


def _best_grid(height: int, width: int, grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The grid that shows most of an image's pixels; among equals the one that wastes least, then the first."""

    def merit(grid: tuple[int, int]) -> tuple[int, int]:
        scale = min(grid[1] / width, grid[0] / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        return shown, shown - grid[0] * grid[1]

    return max(grids, key=merit)


def _features(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    features: Sequence[Tensor] = base.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    return features
