"""LLaVA 1.5 (arXiv 2310.03744): an image is one square for CLIP, whose patches a projector turns into tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...data.records import Modality
from ..medium import Content, Grid, Inputs, Shape
from .clip_images import SquareImages, unused_layers
from .family import Family, Tower, unsupported
from .files import ModelFiles

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Llava(Family):
    """Every image has the same number of tokens: the patches of the cropped square, and CLIP's class token if the
    model's strategy keeps it. The file's crop must be the tower's image size."""

    architecture = "LlavaForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {Modality.IMAGE: "<image>"}

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        self._images = SquareImages(files.part("image_processor"))
        vision = files.config["vision_config"]
        if vision["model_type"] != "clip_vision_model":
            raise unsupported("vision_config.model_type", vision["model_type"], "clip_vision_model")
        self.untrained = unused_layers(files.config)
        self._edge = int(vision.get("image_size", 224))
        if (self._images.crop_height, self._images.crop_width) != (self._edge, self._edge):
            found = [self._images.crop_height, self._images.crop_width]
            raise unsupported("crop_size", found, [self._edge, self._edge])
        keeps_class_token = files.config.get("vision_feature_select_strategy", "default") == "full"
        self._num_tokens = (self._edge // int(vision.get("patch_size", 32))) ** 2 + keeps_class_token

    @property
    def towers(self) -> tuple[Tower, ...]:
        """CLIP with the projector."""
        return (
            Tower(
                frozenset({Modality.IMAGE}),
                ("vision_tower", "multi_modal_projector"),
                _features,
                lambda: {"pixel_values": np.zeros((1, 3, self._edge, self._edge), np.float32)},
            ),
        )

    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """The image processor's."""
        del modality
        return self._images.parameters

    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """The same for every image."""
        del shape
        return self._num_tokens, None

    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """``pixel_values`` ``[1, 3, edge, edge]``."""
        del shape
        return {"pixel_values": self._images.prepare(content)[None]}


def _features(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    features: Sequence[Tensor] = base.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
    return features
