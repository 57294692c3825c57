"""Chameleon (arXiv 2405.09818), images in and text out: a frozen quantizer turns an image into tokens like any others.

The family's output layer forbids image tokens, as transformers does; making images needs a decoder that it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from ...data.records import Modality
from ..medium import Content, Grid, Inputs, Shape
from .clip_images import SquareImages
from .family import Expansion, Family, Tower, base_of, unsupported
from .files import ModelFiles

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Chameleon(Family):
    """Every image has the same number of tokens, between one that begins an image and one that ends it."""

    architecture = "ChameleonForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {Modality.IMAGE: "<image>"}
    expansion = Expansion(("<racm3:break>",), ("<eoss>",))
    untrained = ("vqmodel",)

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        self._images = SquareImages(files.part("image_processor"), Image.Resampling.LANCZOS)
        quantizer = files.config["vq_config"]
        self._edge = int(quantizer.get("resolution", 512))
        found = [self._images.crop_height, self._images.crop_width]
        if found != [self._edge, self._edge]:
            raise unsupported("crop_size", found, [self._edge, self._edge])
        halvings = len(quantizer.get("channel_multiplier", (1, 1, 2, 2, 4))) - 1
        self._num_tokens = (self._edge >> halvings) ** 2
        self._forbidden: Tensor | None = None

    @property
    def towers(self) -> tuple[Tower, ...]:
        """The quantizer."""
        return (
            Tower(
                frozenset({Modality.IMAGE}),
                ("vqmodel",),
                _tokens,
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

    def head_bias(self, model: PreTrainedModel) -> Tensor | None:
        """So low for every image token that none has a probability."""
        import torch

        if self._forbidden is None or self._forbidden.device != model.device:
            bias = torch.zeros(model.get_output_embeddings().weight.shape[0])
            bias[base_of(model).vocabulary_mapping.image_tokens] = torch.finfo(torch.float32).min / 2
            self._forbidden = bias.to(model.device)
        return self._forbidden


def _tokens(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    tokens: Tensor = base.get_image_tokens(inputs["pixel_values"])
    return list(tokens)
