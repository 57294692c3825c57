"""What all kinds of questions about images have in common."""

from __future__ import annotations

from dataclasses import dataclass

from ...records import Modality
from ..question import QuestionKind


@dataclass(frozen=True)
class ImageKind(QuestionKind):
    """A question about a square PNG of ``size`` pixels a side."""

    size: int

    modality = Modality.IMAGE
    extension = "png"
