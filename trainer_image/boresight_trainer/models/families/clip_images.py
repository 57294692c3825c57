"""Images for towers that take one fixed square (CLIP's processor): resize the shorter edge, crop the middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .family import unsupported
from .pixels import Pixels, PixelSettings, center_crop, shortest_edge_size


class SquareImages:
    """The settings of CLIP-like processors, and what they make of an image."""

    def __init__(self, settings: Mapping[str, Any], resample: Image.Resampling = Image.Resampling.BICUBIC) -> None:
        self._pixels = PixelSettings.read(settings, steps=("do_resize", "do_center_crop"), resample=resample)
        if settings.get("do_pad"):
            raise unsupported("do_pad", settings["do_pad"], False)
        self.size, crop = settings["size"], settings["crop_size"]
        self.crop_height = int(crop if isinstance(crop, int) else crop["height"])
        self.crop_width = int(crop if isinstance(crop, int) else crop["width"])
        self.parameters = {
            "size": self.size,
            "crop": [self.crop_height, self.crop_width],
            "resample": self._pixels.resample,
            "rescale": self._pixels.rescale_factor,
            "mean": self._pixels.mean,
            "std": self._pixels.std,
        }

    def prepare(self, image: Pixels) -> npt.NDArray[np.float32]:
        """``[3, crop height, crop width]``."""
        resized = self._pixels.resize(image, *self._resized(*image.shape[:2]))
        cropped = center_crop(resized, self.crop_height, self.crop_width)
        return np.ascontiguousarray(self._pixels.normalize(cropped).transpose(2, 0, 1))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, Mapping) and "height" in self.size:
            return self.size["height"], self.size["width"]
        shortest = self.size["shortest_edge"] if isinstance(self.size, Mapping) else self.size
        return shortest_edge_size(height, width, shortest)


def unused_layers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules of a CLIP tower whose results a model with ``config`` never takes: what lies above its feature layers."""
    chosen = config.get("vision_feature_layer", -2)
    layers = int(config["vision_config"].get("num_hidden_layers", 12))
    every = [chosen] if isinstance(chosen, int) else chosen
    depth = max(layer if layer >= 0 else layers + 1 + layer for layer in every)
    above = [f"vision_tower.encoder.layers.{layer}" for layer in range(depth, layers)]
    return (*above, "vision_tower.post_layernorm")
