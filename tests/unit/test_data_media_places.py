"""Where media stand in a conversation: by the parts of its messages, by columns of the row, and in the dialogues."""

from __future__ import annotations

from typing import Any

import pytest
from boresight_api.enums import RefineFrom
from boresight_api.stages import Templates
from boresight_trainer.data.dialogues import critique_messages, prompt_text, refinement_messages
from boresight_trainer.data.jsonl import JsonlFormat
from boresight_trainer.data.records import MediaReference, Message, Modality, PlacedMedia, Prompt
from boresight_trainer.data.selection import content_of
from boresight_trainer.data.sources import RawRow, RowError

IMAGE = {"type": "image"}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


ANSWER = {"role": "assistant", "content": "y"}


def read(values: dict[str, Any], **columns: str) -> Prompt:
    form = JsonlFormat.of(columns)
    assert form.needed(values) == set(values)
    return form.prompt(RawRow("rows.jsonl", 1, values), "1")


def places(prompt: Prompt) -> list[list[tuple[int, str | None]]]:
    return [[(placed.offset, placed.reference.path) for placed in message.media] for message in prompt.messages]


def picture(path: str) -> MediaReference:
    return MediaReference(Modality.IMAGE, path=path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "x", "images": "a"}, [[(0, "a")]]),
        ({"prompt": "x", "images": ["a", "b"]}, [[(0, "a"), (0, "b")]]),
        ({"prompt": "x", "images": ["a", "a"]}, [[(0, "a"), (0, "a")]]),
        ({"prompt": "x", "images": [], "audios": ["b"]}, [[(0, "b")]]),
        ({"prompt": "x", "audios": ["b"], "images": ["a"], "videos": ["c"]}, [[(0, "a"), (0, "b"), (0, "c")]]),
        ({"prompt": "x", "images": None}, [[]]),
        ({"messages": [user(IMAGE, text("one "), IMAGE, text("two"))], "images": ["a", "b"]}, [[(0, "a"), (4, "b")]]),
        ({"messages": [user(text("see"), {**IMAGE, "image": "a"})]}, [[(3, "a")]]),
        ({"messages": [user({**IMAGE, "image": "a"}, {**text("x"), "image": None})]}, [[(0, "a")]]),
        ({"messages": [user(IMAGE), ANSWER, user(text("more"))], "images": ["a"]}, [[(0, "a")], [], []]),
        ({"prompt": [user(text("x")), ANSWER, user(text("z"))], "images": ["a"]}, [[], [], [(0, "a")]]),
        ({"chosen": [user(IMAGE, text("x")), ANSWER], "rejected": "n", "images": ["a"]}, [[(0, "a")]]),
        ({"prompt": [user(text("<image>"))]}, [[]]),
    ],
)
def test_media_stand_where_the_messages_say_else_before_the_last_users_words(
    row: dict[str, Any], expected: list[list[tuple[int, str | None]]]
) -> None:
    assert places(read(row)) == expected


def test_words_around_media_are_kept_as_they_are() -> None:
    prompt = read({"messages": [user(text("one "), IMAGE, text(" two"))], "photo": "a"}, images="photo")
    assert prompt.messages == (Message("user", "one  two", (PlacedMedia(4, picture("a")),)),)
    assert prompt.media == (picture("a"),)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            {"messages": [user(IMAGE, IMAGE, text("x"))], "images": ["a"]},
            r"content\[1\]: found place 2 for image, .* 1",
        ),
        ({"messages": [user(IMAGE, text("x"))], "images": ["a", "b"]}, r"images: found 2 image media for 1 place in"),
        ({"messages": [user(IMAGE, text("x"))]}, "found place 1 for image, expected 0, as many as the column images"),
        ({"messages": [user({"type": "picture"})]}, '"type" is text, image, audio, video'),
        ({"messages": [user("x")]}, '"type" is text, image, audio, video'),
        ({"messages": [user(text(""))]}, r"content\[0\].text: found empty text"),
        ({"messages": [user()]}, "content: found empty text"),
        (
            {"messages": [{"role": "system", "content": [IMAGE]}, user(text("x"))], "images": ["a"]},
            "image in the system",
        ),
        ({"prompt": "x", "images": [3]}, r"images\[0\]: found 3, expected a path to image"),
        ({"prompt": "x", "images": [""]}, r"images\[0\]: found nothing"),
    ],
)
def test_media_that_do_not_fit_their_places_make_the_row_invalid(row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RowError, match=complaint):
        read(row)


TEMPLATES = Templates(critique_request="Of {response}: judge {prompt}!", refinement_request="Again: {critique}")


def test_the_feedback_model_sees_the_media_where_the_prompts_words_stand() -> None:
    first = Message("user", "see this", (PlacedMedia(4, picture("a")),))
    last = Message("user", "and that", (PlacedMedia(8, picture("b")),))
    prompt = Prompt("1", (first, Message("assistant", "seen"), last))
    (asked,) = critique_messages(prompt, "yes", TEMPLATES)
    stands = [asked.content[: placed.offset].rpartition(": ")[2] for placed in asked.media]
    assert stands == ["see ", "and that"]
    assert [placed.reference for placed in asked.media] == list(prompt.media)
    assert prompt_text(prompt) in asked.content


def test_a_template_without_the_prompt_shows_its_media_first() -> None:
    prompt = Prompt("1", (Message("user", "x", (PlacedMedia(1, picture("a")),)),))
    (asked,) = critique_messages(prompt, "y", Templates(critique_request="Judge {response}", refinement_request="-"))
    assert asked.media == (PlacedMedia(0, picture("a")),)


@pytest.mark.parametrize("refine_from", list(RefineFrom))
def test_the_initial_model_sees_each_of_the_media_once(refine_from: RefineFrom) -> None:
    prompt = Prompt("1", (Message("user", "see this", (PlacedMedia(4, picture("a")),)),))
    dialogue = refinement_messages(prompt, "y", "c", TEMPLATES, refine_from)
    assert [message.media for message in dialogue if message.media] == [prompt.messages[0].media]
    assert dialogue[0].content.startswith("see this")


def test_two_prompts_with_the_same_words_and_other_media_are_two() -> None:
    def content(*media: PlacedMedia) -> str:
        return content_of(Prompt("1", (Message("user", "x", media),)))

    a, b, later = PlacedMedia(0, picture("a")), PlacedMedia(0, picture("b")), PlacedMedia(1, picture("a"))
    assert len({content(), content(a), content(b), content(later), content(a, a)}) == 5


@pytest.mark.parametrize("offsets", [(2,), (-1,), (1, 0)])
def test_places_outside_of_a_turn_are_refused(offsets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending places"):
        Message("user", "x", tuple(PlacedMedia(offset, picture("a")) for offset in offsets))
