"""The thinker of Qwen2.5-Omni (arXiv 2503.20215): text, images, sounds and videos in, text out.

A video's own sound is not heard with it (transformers' ``use_audio_in_video``); it can be given as a sound of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...data.records import Modality
from ..medium import AudioShape, Content, Grid, Inputs, Shape
from .family import Tower, unsupported
from .files import ModelFiles
from .mel import LogMel
from .qwen2_audio import sound_tokens
from .qwen2_vl import VIDEO_SIZE, Patches, Qwen2VL

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Qwen25Omni(Qwen2VL):
    """Sees as Qwen2.5-VL does. Sounds are heard in windows, so silence after them is never computed."""

    architecture = "Qwen2_5OmniThinkerForConditionalGeneration"
    placeholders: ClassVar[Mapping[Modality, str]] = {
        Modality.IMAGE: "<|IMAGE|>",
        Modality.VIDEO: "<|VIDEO|>",
        Modality.AUDIO: "<|AUDIO|>",
    }
    untrained = ("audio_tower.audio_bos_eos_token",)

    def __init__(self, files: ModelFiles) -> None:
        super().__init__(files)
        self._mel = LogMel.read(files.part("feature_extractor"))
        bins = int(files.config["audio_config"].get("num_mel_bins", 128))
        if self._mel.bins != bins:
            raise unsupported("feature_size", self._mel.bins, bins)

    def read_videos(self, files: ModelFiles) -> Patches:
        """As the video processor's file says but for the size of frames, which transformers never takes from it."""
        patches = Patches.read(files.part("video_processor"), VIDEO_SIZE)
        return replace(patches, least=VIDEO_SIZE["shortest_edge"], most=VIDEO_SIZE["longest_edge"])

    @property
    def towers(self) -> tuple[Tower, ...]:
        """One for images and videos together, one for sounds."""
        least = AudioShape(4 * self._mel.hop)
        ear = Tower(
            frozenset({Modality.AUDIO}),
            ("audio_tower",),
            _hear,
            lambda: self.prepare(np.zeros(least.samples, np.float32), least),
        )
        return (*super().towers, ear)

    def parameters(self, modality: Modality) -> Mapping[str, Any]:
        """Those of the processor of its kind."""
        return self._mel.parameters if modality is Modality.AUDIO else super().parameters(modality)

    def measure(self, shape: Shape) -> tuple[int, Grid | None]:
        """As Qwen2-VL and Qwen2-Audio do."""
        return (sound_tokens(self._mel, shape), None) if isinstance(shape, AudioShape) else super().measure(shape)

    def times(self, pairs: int, seconds: float) -> tuple[int, ...]:
        """Positions of pairs of frames that are ``seconds`` apart."""
        second = np.float32(self.files.config.get("position_id_per_seconds", 25))
        return tuple((np.arange(pairs, dtype=np.float32) * np.float32(seconds) * second).astype(int).tolist())

    def extent(self, times: tuple[int, ...], rows: int, columns: int) -> int:
        """How far after a medium the text goes on: behind its largest position, time included."""
        return max(times[-1] + 1, rows, columns)

    def prepare(self, content: Content, shape: Shape) -> Inputs:
        """As Qwen2-VL does; of a sound ``input_features`` ``[columns, bins]`` and ``columns`` ``[1]``."""
        if not isinstance(shape, AudioShape):
            return super().prepare(content, shape)
        columns = self._mel.columns_of(len(content))
        spectrogram = self._mel.prepare(content)[:, :columns]
        return {"input_features": np.ascontiguousarray(spectrogram.T), "columns": np.array([columns], np.int64)}


def _hear(base: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
    tower, columns = base.audio_tower, inputs["columns"]
    steps, tokens = tower._get_feat_extract_output_lengths(columns)
    features: Tensor = tower(inputs["input_features"].T, feature_lens=columns, aftercnn_lens=steps).last_hidden_state
    sizes: list[int] = tokens.tolist()
    return [features.narrow(0, start, size) for start, size in zip(accumulate(sizes, initial=0), sizes, strict=False)]
