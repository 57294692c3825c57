"""Images show what the question says: it is measured in their pixels."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from boresight_trainer.data.questions.canvas import COLOURS, INK
from boresight_trainer.data.questions.images.charts import HIGHEST, LABELS
from boresight_trainer.data.questions.images.photos import PHOTOS, SURFACES, greys, pieces_of
from boresight_trainer.data.questions.question import Question
from boresight_trainer.data.questions.sides import Side
from builders_questions import IMAGE_KINDS, answer_of, coloured, drawn, pixels_of, shapes_in
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import match_template
from sklearn.datasets import load_digits


def fact_of(question: Question) -> str:
    return question.constraints[0].fact


def test_the_shape_that_is_asked_about_has_the_colour() -> None:
    for question in drawn(IMAGE_KINDS, "shape_colour"):
        (asked,) = {shape for shape in ("circle", "square", "triangle") if shape in question.prompt}
        assert [seen.colour for seen in shapes_in(pixels_of(question)) if seen.shape == asked] == [answer_of(question)]


def test_there_are_as_many_shapes_as_the_answer_says() -> None:
    for question in drawn(IMAGE_KINDS, "shape_count", 40):
        (asked,) = {shape for shape in ("circle", "square", "triangle") if f"{shape}s" in question.prompt}
        found = shapes_in(pixels_of(question))
        assert len([seen for seen in found if seen.shape == asked]) == answer_of(question)


@pytest.mark.parametrize(("name", "axis"), [("shape_left_right", "x"), ("shape_above_below", "y")])
def test_shapes_stand_where_the_fact_says(name: str, axis: str) -> None:
    for question in drawn(IMAGE_KINDS, name):
        one, two = re.findall(r"(\w+) (circle|square|triangle)", fact_of(question))
        place = {(seen.colour, seen.shape): getattr(seen, axis) for seen in shapes_in(pixels_of(question))}
        before = place[one] < place[two]
        assert before == (answer_of(question) in {"left", "above"})


def test_the_largest_shape_covers_most() -> None:
    for question in drawn(IMAGE_KINDS, "shape_largest"):
        found = sorted(shapes_in(pixels_of(question)), key=lambda seen: seen.area)
        assert found[-1].shape == answer_of(question)
        assert found[-1].area > 1.2 * found[-2].area


def bar_values(pixels: NDArray[np.uint8]) -> dict[str, int]:
    """Values by label, from the bars' heights in pixels."""
    (colour,) = {colour for colour in COLOURS if colour != "black" and coloured(pixels, colour).any()} or {"black"}
    size = len(pixels)
    inside = coloured(pixels, colour)[int(size * 0.05) : int(size * 0.83), int(size * 0.18) :]
    quarters = np.array_split(inside, len(LABELS), axis=1)
    unit = size * (0.84 - 0.08) / HIGHEST
    return {label: round(quarter.any(axis=1).sum() / unit) for label, quarter in zip(LABELS, quarters, strict=True)}


@pytest.mark.parametrize(("name", "best"), [("bar_highest", max), ("bar_lowest", min)])
def test_the_bar_that_stands_out_is_measured_to(name: str, best: type[max]) -> None:
    for question in drawn(IMAGE_KINDS, name):
        values = bar_values(pixels_of(question))
        assert best(values, key=lambda label: values[label]) == answer_of(question)


def test_the_value_of_a_bar_is_its_height() -> None:
    for question in drawn(IMAGE_KINDS, "bar_value"):
        (label,) = re.findall(r"bar ([KLMN])\b", question.prompt)
        assert bar_values(pixels_of(question))[label] == answer_of(question)


def test_the_line_goes_where_the_answer_says() -> None:
    for question in drawn(IMAGE_KINDS, "line_trend"):
        pixels = pixels_of(question)
        (colour,) = {colour for colour in COLOURS if colour != "black" and coloured(pixels, colour).any()} or {"black"}
        rows, columns = np.nonzero(coloured(pixels, colour)[5:90, 24:])
        slope = np.polyfit(columns, rows, 1)[0]
        assert (slope < 0) == (answer_of(question) == "up")


def test_digits_are_those_of_the_source() -> None:
    source = load_digits()
    for question in drawn(IMAGE_KINDS, "digit"):
        index = int(question.medium.keys[0].split()[-1])
        assert source.target[index] == answer_of(question)
        original = Image.fromarray((source.images[index] * 255 / 16).round().astype(np.uint8))
        assert np.corrcoef(trimmed(original), trimmed(Image.fromarray(pixels_of(question)).convert("L")))[0, 1] > 0.8


def trimmed(image: Image.Image) -> NDArray[np.float64]:
    """The image without its black margins, 16 x 16 pixels in a row."""
    box = image.point(lambda grey: 255 * (grey > 40)).getbbox()
    return greys(image.crop(box).resize((16, 16), Image.Resampling.BILINEAR)).ravel()


def test_the_larger_digit_is_on_the_side_that_the_answer_says() -> None:
    target = load_digits().target
    for question in drawn(IMAGE_KINDS, "digit_larger"):
        left, right = (target[int(key.split()[-1])] for key in question.medium.keys)
        assert (left > right) == (answer_of(question) == "left")
        halves = np.array_split(pixels_of(question)[..., 0], 2, axis=1)
        assert all(half.max() > 100 for half in halves)


def test_the_photo_is_of_what_the_answer_says() -> None:
    for question in drawn(IMAGE_KINDS, "photo_surface"):
        assert SURFACES[answer_of(question)].file in question.medium.keys[0]
        assert SURFACES[answer_of(question)].file in question.medium.source.name
        assert is_cut_from(question)


def is_cut_from(question: Question) -> bool:
    """Whether the image, mirrored or not and in some size, is found in the piece that its key names."""
    (piece,) = (
        piece
        for photo in PHOTOS
        for side in Side
        for piece in pieces_of(photo, side)
        if piece.key == question.medium.keys[0]
    )
    whole, image = greys(piece.image), Image.open(io.BytesIO(question.medium.content)).convert("L")
    most = min(whole.shape)
    sizes = range(int(0.8 * most), most + 1)
    templates = (np.asarray(image.resize((size, size))) for size in sizes)
    return any(
        match_template(whole, template[:, ::direction]).max() > 0.9 for template in templates for direction in (1, -1)
    )


def test_the_half_that_is_said_to_be_brighter_is() -> None:
    for question in drawn(IMAGE_KINDS, "photo_brighter"):
        grey = greys(Image.open(io.BytesIO(question.medium.content)))
        left, right = grey[:, : grey.shape[1] // 2].mean(), grey[:, grey.shape[1] // 2 :].mean()
        assert (left > right) == (answer_of(question) == "left")
        assert abs(left - right) > 10


def test_exactly_the_quarter_that_is_said_to_be_covered_is() -> None:
    for question in drawn(IMAGE_KINDS, "photo_covered"):
        pixels, half = pixels_of(question), 56
        quarters = {
            f"{high} {wide}": pixels[top : top + half, left : left + half]
            for high, top in (("top", 0), ("bottom", half))
            for wide, left in (("left", 0), ("right", half))
        }
        assert [name for name, part in quarters.items() if (part == INK).all()] == [answer_of(question)]


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.file)
def test_every_photo_has_pieces_on_every_side_and_no_two_share_a_place(photo: object) -> None:
    pieces = {side: pieces_of(photo, side) for side in Side}  # type: ignore[arg-type]
    assert min(map(len, pieces.values())) >= 4
    keys = [piece.key for of_side in pieces.values() for piece in of_side]
    assert len(set(keys)) == len(keys) == 36
