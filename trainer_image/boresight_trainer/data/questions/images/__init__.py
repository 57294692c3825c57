"""Questions about images: rendered shapes and charts, real photos and handwritten digits."""

from __future__ import annotations

from ..question import QuestionKind
from . import charts, digits, photos, shapes

KINDS = (
    shapes.ShapeColour,
    shapes.ShapeCount,
    shapes.ShapeLeftRight,
    shapes.ShapeAboveBelow,
    shapes.ShapeLargest,
    charts.BarHighest,
    charts.BarLowest,
    charts.BarValue,
    charts.LineTrend,
    digits.DigitValue,
    digits.DigitLarger,
    photos.PhotoSurface,
    photos.PhotoBrighter,
    photos.PhotoCovered,
)


def image_kinds(size: int) -> tuple[QuestionKind, ...]:
    """All kinds, with images of ``size`` pixels a side."""
    return tuple(kind(size) for kind in KINDS)
