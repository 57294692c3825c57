"""Media become the tokens and the inputs that transformers' own processors make of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.records import MediaReference, Message, Modality
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.families.encoding import MediaChat
from boresight_trainer.models.families.registry import family_of
from builders_families import RIGS, rows_of
from builders_rigs import Rig, Row, Shelf, a_sound, a_video, an_image, user


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return RIGS[request.param](tmp_path_factory.mktemp(request.param))


def has_placeholder_text(rig: Rig, row: Row) -> bool:
    return any(rig.placeholder in message.content for message in row.messages)


def test_token_ids_equal_those_of_transformers(rig: Rig) -> None:
    for row in rows_of(rig):
        if has_placeholder_text(rig, row):
            continue  # transformers takes the words for a place of media
        contents = [rig.shelf.content(reference) for reference in row.media]
        shapes = [rig.shelf.shape(reference) for reference in row.media]
        prompt = rig.chat().prompt(row.id, row.messages)
        assert list(prompt.ids) == rig.hf_ids(rig.rendered(row), contents, shapes), row.id


def media_of_every_size(rig: Rig) -> list[MediaReference]:
    shelf, taken = Shelf(), rig.family.placeholders
    found: list[MediaReference] = []
    if Modality.IMAGE in taken:
        sizes = [(28, 28), (300, 200), (200, 301), (31, 29), (5, 90), (90, 7), (14, 20), (1, 1)]
        found += [an_image(shelf, f"{h}x{w}", h, w) for h, w in sizes]
    if Modality.VIDEO in taken:
        found += [a_video(shelf, f"{f} frames", f, h, w) for f, h, w in [(1, 30, 60), (4, 56, 56), (7, 90, 33)]]
    if Modality.AUDIO in taken:
        found += [a_sound(shelf, f"{n} samples", n) for n in (400, 1600, 3333, 16000)]
    for reference in found:
        rig.shelf.put(str(reference.path), shelf.content(reference))
    return found


def test_inputs_equal_those_of_transformers(rig: Rig) -> None:
    for reference in media_of_every_size(rig):
        content, shape = rig.shelf.content(reference), rig.shelf.shape(reference)
        ours, expected = rig.family.prepare(content, shape), rig.hf_inputs(content, shape)
        assert ours.keys() == expected.keys()
        for name, values in ours.items():
            assert values.shape == expected[name].shape, (reference.path, name)
            assert np.abs(values - expected[name]).max() <= 1e-5, (reference.path, name)


def test_its_shape_alone_tells_the_number_of_features(rig: Rig) -> None:
    model = rig.make_model()
    for reference in media_of_every_size(rig):
        digest, shape = rig.shelf.find(reference)
        medium = rig.family.medium(digest, shape)
        assert len(rig.features().of(model, [medium])[medium.id]) == medium.num_tokens, reference.path


def test_the_words_of_a_user_never_stand_for_media(rig: Rig) -> None:
    row = next(row for row in rows_of(rig) if row.id == "the placeholder as text")
    prompt = rig.chat().prompt(row.id, row.messages)
    assert prompt.media == ()
    assert not set(prompt.ids) & set(rig.chat().chat.placeholders.values())
    assert rig.placeholder in rig.chat().chat.decode(prompt.ids)


def test_the_same_content_prepared_the_same_way_is_one_medium(rig: Rig) -> None:
    (first, *_) = media_of_every_size(rig)
    digest, shape = rig.shelf.find(first)
    assert rig.family.medium(digest, shape) == rig.family.medium(digest, shape)
    assert rig.family.medium(digest, shape).id != rig.family.medium("sha256:other", shape).id


def test_a_template_for_text_marks_media_among_the_words(rig: Rig) -> None:
    template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    chat = ChatTokenizer.from_folder(rig.folder, chat_template=template)
    row = next(row for row in rows_of(rig) if len(row.media) == 2)
    prompt = MediaChat(chat, rig.shelf.find).prompt(row.id, row.messages)
    assert [span.medium.digest for span in prompt.media] == [rig.shelf.find(m)[0] for m in row.media]
    without = [token for i, token in enumerate(prompt.ids) if not any(s.start <= i < s.stop for s in prompt.media)]
    words = chat.encode_text(f"user: {row.messages[0].content}")
    assert set(words) - set(without) <= set(chat.encode_text(row.messages[0].content))


def test_a_template_that_does_not_mark_media_is_refused(rig: Rig) -> None:
    template = (
        "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{{ eos_token }}{% endfor %}"
    )
    with pytest.raises(StageFailure, match="does not mark each medium with") as caught:
        ChatTokenizer.from_folder(rig.folder, chat_template=template)
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_a_row_whose_media_the_template_drops_is_named(rig: Rig) -> None:
    """This template knows media in the first turn alone."""
    template = (
        "{% for m in messages %}{{ m['role'] }}: {% if loop.first %}"
        + "".join(
            f"{{% for p in m['content'] if p['type'] == '{modality}' %}}{token}{{% endfor %}}"
            for modality, token in rig.family.placeholders.items()
        )
        + "{% endif %}{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}{% endfor %}{{ eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    chat = ChatTokenizer.from_folder(rig.folder, chat_template=template)
    medium = media_of_every_size(rig)[0]
    messages = [user("Hello world!"), Message("assistant", "Hi."), user("What is it?", medium)]
    with pytest.raises(StageFailure, match=rf"row r7: found 0 places for 1 {medium.modality} media") as caught:
        MediaChat(chat, rig.shelf.find).prompt("r7", messages)
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_media_that_the_family_does_not_take_are_refused(rig: Rig) -> None:
    others = set(Modality) - set(rig.family.placeholders)
    for modality in others:
        with pytest.raises(StageFailure, match=f"found {modality} x, but model .* takes text and"):
            rig.chat().prompt("r", [user("?", MediaReference(modality, path="x"))])


def test_media_are_refused_where_text_alone_is_read(rig: Rig) -> None:
    """Their placeholders are no prompt: without the media a model would learn from tokens that show nothing."""
    row = next(row for row in rows_of(rig) if row.media)
    chat = rig.chat().chat
    for read in (lambda: chat.prompt_ids(row.messages), lambda: chat.conversation_ids(row.messages, "Yes.")):
        with pytest.raises(StageFailure, match=f"found {row.media[0].modality} .* where only text is read") as caught:
            read()
        assert caught.value.failure is FailureClass.INVALID_DATA


def test_a_step_that_is_turned_off_in_the_processors_file_is_refused(rig: Rig, tmp_path) -> None:
    for file in rig.folder.iterdir():
        document = file.read_text()
        if file.name.endswith("preprocessor_config.json") and "do_normalize" in document:
            document = json.dumps(json.loads(document) | {"do_normalize": False})
        (tmp_path / file.name).write_text(document)
    if "do_normalize" not in "".join(f.read_text() for f in tmp_path.glob("*preprocessor_config.json")):
        pytest.skip("sounds are not normalised")
    with pytest.raises(StageFailure, match="do_normalize is False, expected True"):
        family_of(tmp_path)


def test_a_shape_that_lies_is_found_when_the_tower_has_run(rig: Rig) -> None:
    digest, shape = rig.shelf.find(media_of_every_size(rig)[0])
    medium = rig.family.medium(digest, shape)
    with pytest.raises(ValueError, match="its shape does not describe its content"):
        rig.features().of(rig.make_model(), [replace(medium, num_tokens=medium.num_tokens + 1)])
