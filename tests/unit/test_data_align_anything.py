"""The AlignAnything source: every subset's field map, winners, feedback on each response, ratings, media."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from boresight_api.enums import DataFormat, Task
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.align_anything import SUBSETS, AlignAnythingFormat, NoPair
from boresight_trainer.data.mixture import load_demonstrations, load_feedback, load_preferences, load_prompts
from boresight_trainer.data.records import Modality
from boresight_trainer.data.sources import RawRow, RowError
from builders_data import a_comparison, an_input, loaded, write_json, write_jsonl, write_parquet

PNG = b"\x89PNG bytes"
PNG_DIGEST = "sha256:" + hashlib.sha256(PNG).hexdigest()
FEEDBACK = {"text_critique_1": "##Critique: a\n##Refinement: b", "text_critique_2": "##Critique: c\n##Refinement: d"}
NUMBERED = {"text_1_feedback": "##Critique: a\n##Refinement: b", "text_2_feedback": "##Critique: c\n##Refinement: d"}
TEXTS = {"response_1": "y1", "response_2": "y2"}

ROWS: dict[str, dict[str, Any]] = {
    "text-to-text": {"question": "x", **TEXTS, **FEEDBACK, "overall_response": 1},
    "text-image-to-text": {
        "question": "x", "image": {"bytes": PNG, "path": None}, **TEXTS, **FEEDBACK, "overall_response": 1,
    },
    "text-image-to-text-expert": {"question": "x", "image": PNG, **TEXTS, **NUMBERED, "overall_response": 1},
    "text-image-to-text-image": {
        "question": "x", "image_url": "in.png", "output_image_url_1": "a.png", "output_image_url_2": "b.png",
        **TEXTS, **FEEDBACK, "overall_response": 1,
    },
    "text-to-image": {
        "prompt": "x", "image_1": {"bytes": PNG}, "image_1_model": "m", "image_2": {"bytes": PNG + b"2"},
        "image_2_model": "n", **NUMBERED, "overall_image": 1,
    },
    "text-audio-to-text": {"prompt": "x", "audio_path": "a.wav", **TEXTS, **FEEDBACK, "overall_response": 1},
    "text-to-audio": {
        "prompt": "x", "response_1": {"bytes": b"RIFF1", "path": "1"}, "response_2": {"bytes": b"RIFF2", "path": "2"},
        **NUMBERED, "overall_audio": 1,
    },
    "text-to-video": {"prompt": "x", "video_1": "1.mp4", "video_2": "2.mp4", **FEEDBACK, "overall_video": 1},
    "text-video-to-text": {
        "prompt": "x", "video_path": "v", "model_1": "m", "model_2": "n", **TEXTS, **FEEDBACK, "overall_response": 1,
        "overall_textfeedback": "##Reason: r",
    },
}  # fmt: skip


def read(subset: str, kind: str, values: dict[str, Any]) -> Any:
    form = AlignAnythingFormat.of(subset)
    row = RawRow("train.parquet", 1, values)
    prompt = form.prompt(row, form.row_id(row) or row.place)
    return prompt if kind == "prompt" else getattr(form, kind)(row, prompt)


def test_there_is_a_subset_for_every_task_and_one_of_experts() -> None:
    names = {re.sub("(?<!^)([A-Z])", r"-\1", task.value).lower() for task in Task}
    assert set(SUBSETS) == names | {"text-image-to-text-expert"} == set(ROWS)


@pytest.mark.parametrize("subset", sorted(SUBSETS))
def test_every_subset_gives_prompts_demonstrations_feedback_and_preferences(subset: str) -> None:
    row = ROWS[subset]
    text = "text-to-" not in subset or subset == "text-to-text"
    prompt = read(subset, "prompt", row)
    assert prompt.text == "x"
    assert bool(prompt.media) == (SUBSETS[subset].prompt_media is not None)
    (preference,) = read(subset, "preferences", row)
    assert (preference.chosen, preference.rejected) == (("y1", "y2") if text else ("", ""))
    assert bool(preference.chosen_media) == (SUBSETS[subset].response_media is not None)
    (demonstration,) = read(subset, "demonstrations", row)
    assert (demonstration.response, demonstration.response_media) == (preference.chosen, preference.chosen_media)
    first, second = read(subset, "feedback", row)
    assert (first.critique, first.advice, second.critique, second.advice) == ("a", "b", "c", "d")
    assert (first.id, second.id) == ("train.parquet:1#1", "train.parquet:1#2")


def test_media_are_references_by_digest_and_size_or_by_path() -> None:
    (reference,) = read("text-image-to-text", "prompt", ROWS["text-image-to-text"]).media
    assert (reference.modality, reference.digest, reference.size) == (Modality.IMAGE, PNG_DIGEST, len(PNG))
    (reference,) = read("text-video-to-text", "prompt", ROWS["text-video-to-text"]).media
    assert (reference.modality, reference.path, reference.digest) == (Modality.VIDEO, "v", None)
    for decoded in ({"array": [0.1], "sampling_rate": 16000}, None, b"", {"bytes": None, "path": None}):
        with pytest.raises(RowError, match=r"audio_path: found .*, expected a path to audio or its encoded bytes"):
            read("text-audio-to-text", "prompt", {**ROWS["text-audio-to-text"], "audio_path": decoded})


def test_the_winner_is_an_integer_and_everything_else_is_no_pair() -> None:
    second = read("text-to-text", "preferences", a_comparison(overall_response=2))[0]
    assert (second.chosen, second.rejected) == ("Nobody knows 1.", "1 is a number.")
    for tie in (0, 3, -1, None):
        for kind in ("preferences", "demonstrations"):
            with pytest.raises(NoPair):
                read("text-to-text", kind, a_comparison(overall_response=tie))
    for wrong in ("1", 1.5, True):
        with pytest.raises(RowError, match=r"overall_response: found .*, expected the number of the better response"):
            read("text-to-text", "preferences", a_comparison(overall_response=wrong))


def test_scores_winners_and_rationales_are_kept_by_dimension() -> None:
    (preference,) = read(
        "text-to-text", "preferences", a_comparison(overall_response=2, novelty_rate_1=2, novelty_rate_2=2)
    )
    following, novelty = preference.comparisons
    assert (following.dimension, following.preferred) == ("prompt_following", "rejected")
    assert (following.chosen.score, following.chosen.rationale) == (1, "It evades.")
    assert (following.rejected.score, following.rejected.rationale) == (3, "It answers.")
    assert (novelty.dimension, novelty.preferred, novelty.chosen.score) == ("novelty", None, 2)
    first, _ = read("text-to-text", "feedback", a_comparison())
    assert [(rating.dimension, rating.score) for rating in first.ratings] == [("prompt_following", 3)]
    with pytest.raises(RowError, match='prompt_following_rate_1: found "3", expected an integer'):
        read("text-to-text", "preferences", a_comparison(prompt_following_rate_1="3"))


def test_feedback_on_one_response_is_enough_and_on_none_is_too_little() -> None:
    (only,) = read("text-to-text", "feedback", a_comparison(text_critique_1=" "))
    assert (only.response_number, only.response) == (2, "Nobody knows 1.")
    with pytest.raises(RowError, match="text_critique_1: found no feedback on either response"):
        read("text-to-text", "feedback", a_comparison(text_critique_1="", text_critique_2=None))
    with pytest.raises(RowError, match="text_critique_1: found a heading twice"):
        read("text-to-text", "feedback", a_comparison(text_critique_1="##Critique: a\n##Critique: b"))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("prompt", {"question": ""}, "question: found empty text"),
        ("preferences", {"response_2": None}, "response_2: found nothing, expected text"),
        ("preferences", {"response_2": "1 is a number. "}, "response_1, response_2: found two equal answers"),
        ("feedback", {"text_1_feedback": "a"}, "text_critique_1, text_1_feedback: found several columns for one thing"),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_field(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        read("text-to-text", kind, a_comparison(**changes))


def test_a_row_of_another_subset_lists_the_columns_it_has() -> None:
    with pytest.raises(
        RowError, match=r"question: found no such column \(columns: prompt, .*is this the right `subset`"
    ):
        read("text-to-text", "prompt", ROWS["text-to-image"])
    with pytest.raises(RowError, match=r"video_1 or video_path_1 or .*: found no such column \(columns: question"):
        read("text-to-video", "preferences", {"question": "x", "prompt": "x", "overall_video": 1})


def test_an_unknown_subset_is_refused_with_the_known_ones() -> None:
    for name, found in (("T2T", '"T2T"'), (None, "nothing")):
        with pytest.raises(
            StageFailure, match=rf"subset: found {found}, expected one of text-to-text \(T2T\)"
        ) as caught:
            AlignAnythingFormat.of(name)
        assert caught.value.failure is FailureClass.INVALID_CONFIG


@pytest.mark.parametrize("write", [write_jsonl, write_json, write_parquet])
@pytest.mark.parametrize("inside", ["", "text-to-text"])
def test_a_file_of_each_kind_loads_for_every_use(tmp_path: Path, write: Any, inside: str) -> None:
    suffix = {"write_jsonl": "jsonl", "write_json": "json", "write_parquet": "parquet"}[write.__name__]
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    write(folder / f"train.{suffix}", [a_comparison(1), a_comparison(2, overall_response=0), a_comparison(3)])
    write(folder / f"val.{suffix}", [a_comparison(4)])
    value = an_input(tmp_path, format=DataFormat.ALIGN_ANYTHING, subset="text-to-text")
    assert len(loaded(load_prompts, value).train) == 3
    assert len(loaded(load_feedback, value).train) == 6
    preferences = loaded(load_preferences, value)
    assert (len(preferences.train), preferences.sources[0].without_pair, preferences.invalid) == (2, 1, ())
    assert len(loaded(load_demonstrations, value).train) == 2
    validation = value.model_copy(update={"split": "validation"})
    assert [p.text for p in loaded(load_prompts, validation).train] == ["What is 4?"]


def test_the_hubs_known_file_is_the_split_whatever_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "text-image-to-text"
    (folder / "train").mkdir(parents=True)
    write_parquet(folder / "train_40k.parquet", [ROWS["text-image-to-text"]])
    write_parquet(folder / "train" / "0.parquet", [ROWS["text-image-to-text"]] * 2)
    value = an_input(tmp_path, format=DataFormat.ALIGN_ANYTHING, subset="text-image-to-text")
    assert [prompt.id for prompt in loaded(load_prompts, value).train] == ["train_40k.parquet:1"]
