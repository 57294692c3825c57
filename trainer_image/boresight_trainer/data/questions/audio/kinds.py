"""What all kinds of questions about sounds have in common."""

from __future__ import annotations

from dataclasses import dataclass

from ...records import Modality
from ..question import QuestionKind


@dataclass(frozen=True)
class AudioKind(QuestionKind):
    """A question about a mono WAV of a few seconds."""

    modality = Modality.AUDIO
    extension = "wav"
