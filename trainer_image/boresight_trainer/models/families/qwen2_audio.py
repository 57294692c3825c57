"""Qwen2-Audio (arXiv 2407.10759): a Whisper encoder hears up to 30 seconds; one token stands for 40 milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...data.records import Modality
from ..medium import AudioShape, Content, Grid, Inputs, Shape
from .family import Family, Tower, unsupported
from .files import ModelFiles
from .mel import LogMel

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Qwen2Audio(Family):
    """The encoder always hears a whole spectrogram; what follows the sound is hidden from it."""

    architecture = "Qwen2AudioForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {Modality.AUDIO: "<|AUDIO|>"}
    untrained = ("audio_tower.embed_positions",)

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        self._mel = LogMel.read(files.part("feature_extractor"))
        audio = files.config["audio_config"]
        found = [self._mel.bins, self._mel.columns]
        expected = [int(audio.get("num_mel_bins", 128)), 2 * int(audio.get("max_source_positions", 1500))]
        if found != expected:
            raise unsupported("size of the spectrogram (feature_size and chunk_length)", found, expected)

    @property
    def towers(self) -> tuple[Tower, ...]:
        """Whisper's encoder with the projector."""
        return (
            Tower(
                frozenset({Modality.AUDIO}),
                ("audio_tower", "multi_modal_projector"),
                _hear,
                lambda: self.prepare(np.zeros(4 * self._mel.hop, np.float32), AudioShape(4 * self._mel.hop)),
            ),
        )

    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """The feature extractor's."""
        del modality
        return self._mel.parameters

    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """A token for two steps of the encoder, each of two columns of the spectrogram."""
        assert isinstance(shape, AudioShape), "the placeholders name sounds alone"
        return sound_tokens(self._mel, shape), None

    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """``input_features`` ``[1, bins, columns]``, and which columns the sound fills."""
        del shape
        filled = np.arange(self._mel.columns) < self._mel.columns_of(len(content))
        return {
            "input_features": self._mel.prepare(content)[None],
            "feature_attention_mask": filled.astype(np.int32)[None],
        }


def sound_tokens(mel: LogMel, shape: AudioShape) -> int:
    """Tokens of a sound. Raises ``ValueError`` if it makes none, or does not fit the spectrogram."""
    steps = (mel.columns_of(shape.samples) - 1) // 2 + 1
    tokens = (steps - 2) // 2 + 1
    if tokens < 1:
        raise ValueError(f"found {shape.samples} samples, expected at least {2 * mel.hop + 1}; it is too short to hear")
    return tokens


def _hear(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    import torch

    tower, features = base.audio_tower, inputs["input_features"]
    steps, tokens = tower._get_feat_extract_output_lengths(inputs["feature_attention_mask"].sum(-1))
    length = features.shape[2] // 2
    heard = torch.arange(length, device=features.device)[None] < steps[:, None]
    mask = heard[:, None, None, :].expand(-1, 1, length, length)
    encoded = tower(features, attention_mask=mask).last_hidden_state
    projected: Tensor = base.multi_modal_projector(encoded)
    return [rows[:count] for rows, count in zip(projected, tokens.tolist(), strict=True)]
