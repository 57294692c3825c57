"""What the Jsonl source makes of a row, and what it says when it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.jsonl import JsonlFormat
from boresight_trainer.data.records import Message
from boresight_trainer.data.sources import RawRow, RowError

USER, SYSTEM = {"role": "user", "content": "x"}, {"role": "system", "content": "s"}


def says(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def read(kind: str, values: dict[str, Any], columns: dict[str, str] | None = None) -> Any:
    """The one record of ``kind`` that a row gives."""
    form = JsonlFormat.of(columns or {})
    row = RawRow("file.jsonl", 3, values)
    prompt = form.prompt(row, form.row_id(row) or row.place)
    return prompt if kind == "prompt" else getattr(form, kind)(row, prompt)[0]


def test_columns_are_read_by_their_own_names_and_by_those_that_the_manifest_maps() -> None:
    plain = read(
        "feedback", {"id": "a", "prompt": "x", "response": "y", "critique": "c", "constraints": [{"kind": "k"}]}
    )
    assert (plain.id, plain.prompt.text, plain.response, plain.critique, plain.advice) == ("a", "x", "y", "c", None)
    assert plain.prompt.constraints == ({"kind": "k"},)
    columns = {"id": "n", "prompt": "question", "response": "answer", "critique": "judgement", "advice": "refinement"}
    mapped = read("feedback", {"n": 5, "question": "x", "answer": "y", "judgement": "c", "refinement": "a"}, columns)
    assert (mapped.id, mapped.prompt.text, mapped.response, mapped.critique, mapped.advice) == ("5", "x", "y", "c", "a")


def test_a_row_without_an_id_is_named_by_its_place() -> None:
    assert read("prompt", {"prompt": "x"}).id == "file.jsonl:3"


@pytest.mark.parametrize(
    ("critique", "expected"),
    [
        ("##Critique: c\n##Refinement: a", ("c", "a")),
        ("## critique :\nc\n\n##REFINEMENT:\na", ("c", "a")),
        ("##Critique: c", ("c", None)),
        ("c", ("c", None)),
    ],
)
def test_language_feedback_is_split_into_critique_and_advice(critique: str, expected: tuple[str, str | None]) -> None:
    record = read("feedback", {"prompt": "x", "response": "y", "critique": critique})
    assert (record.critique, record.advice) == expected


def test_a_rewritten_answer_is_not_advice() -> None:
    columns = {"refined_response": "refinement"}
    row = {"prompt": "x", "response": "y", "critique": "c", "refinement": "y*"}
    record = read("feedback", row, columns)
    assert (record.refined_response, record.advice) == ("y*", None)


def test_the_output_of_language_feedback_learning_becomes_pairs_when_its_columns_are_mapped() -> None:
    record = read(
        "preferences",
        {"prompt": "x", "response": "y", "refinement": "y*"},
        {"chosen": "refinement", "rejected": "response"},
    )
    assert (record.chosen, record.rejected) == ("y*", "y")


@pytest.mark.parametrize("kind", ["demonstrations", "feedback", "preferences"])
def test_an_unmapped_refinement_column_is_refused_because_it_may_mean_two_things(kind: str) -> None:
    row = {"prompt": "x", "response": "y", "critique": "c", "chosen": "a", "rejected": "b", "refinement": "?"}
    with pytest.raises(
        StageFailure, match=r"refinement.*advice or a rewritten answer.*refined_response: refinement"
    ) as e:
        read(kind, row)
    assert e.value.failure is FailureClass.INVALID_CONFIG


def test_a_refinement_column_does_not_matter_to_prompts() -> None:
    assert read("prompt", {"prompt": "x", "refinement": "?"}).text == "x"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"refinement": "r"}, "advice or a rewritten answer"),
        ({"question": "q"}, r'the role "question", expected one of id, prompt, messages'),
        ({"prompt": "text", "response": "text"}, "one column under several roles"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(columns: dict[str, str], message: str) -> None:
    with pytest.raises(StageFailure, match=message) as caught:
        JsonlFormat.of(columns)
    assert caught.value.failure is FailureClass.INVALID_CONFIG


@pytest.mark.parametrize(
    ("values", "prompt", "response"),
    [
        ({"prompt": "x", "response": "y"}, ["x"], "y"),
        ({"prompt": [SYSTEM, USER], "response": "y"}, ["s", "x"], "y"),
        ({"messages": [USER, says("y")]}, ["x"], "y"),
        ({"messages": [USER, says("1"), USER, says("y")]}, ["x", "1", "x"], "y"),
        ({"messages": [USER], "response": "y"}, ["x"], "y"),
        ({"messages": [USER, says("y")], "response": "y"}, ["x"], "y"),
    ],
)
def test_a_demonstration_is_a_prompt_and_a_response_or_a_conversation(
    values: dict[str, Any], prompt: list[str], response: str
) -> None:
    record = read("demonstrations", values)
    assert [message.content for message in record.prompt.messages] == prompt
    assert record.response == response


@pytest.mark.parametrize(
    ("values", "prompt"),
    [
        ({"prompt": "x", "chosen": "a", "rejected": "b"}, ["x"]),
        ({"prompt": [USER], "chosen": [says("a")], "rejected": [says("b")]}, ["x"]),
        ({"chosen": [USER, says("a")], "rejected": [USER, says("b")]}, ["x"]),
        ({"prompt": "x", "chosen": [SYSTEM, USER, says("a")], "rejected": [SYSTEM, USER, says("b")]}, ["s", "x"]),
        ({"messages": [USER], "chosen": "a", "rejected": "b"}, ["x"]),
    ],
)
def test_a_preference_is_two_answers_or_two_conversations(values: dict[str, Any], prompt: list[str]) -> None:
    record = read("preferences", values)
    assert [message.content for message in record.prompt.messages] == prompt
    assert (record.chosen, record.rejected) == ("a", "b")


def test_the_column_that_is_mapped_counts_when_prompt_and_messages_are_both_there() -> None:
    row = {"prompt": "short", "messages": [USER, says("y")], "response": "y"}
    assert read("prompt", row, {"messages": "messages"}).messages == (Message("user", "x"),)
    assert read("prompt", row, {"prompt": "prompt"}).text == "short"
    with pytest.raises(RowError, match=r"prompt, messages: found both columns, expected one of them: map the one"):
        read("prompt", row)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("prompt", {"question": "x"}, r"prompt: found no such column \(columns: question\).*map it in `columns`"),
        ("prompt", {"prompt": None}, "prompt: found nothing, expected the row's prompt"),
        ("prompt", {"prompt": " \n"}, "prompt: found empty text"),
        ("prompt", {"prompt": 3}, "prompt: found 3, expected text"),
        ("prompt", {"prompt": "\ud800"}, "prompt: found half a surrogate pair at character 1"),
        ("prompt", {"prompt": []}, r"prompt: found \[\], expected a list of chat messages"),
        (
            "prompt",
            {"prompt": [USER, says("y")]},
            "prompt: found the assistant's message at the end, expected the user's",
        ),
        (
            "prompt",
            {"prompt": [USER, SYSTEM, USER]},
            r"prompt\[1\].role: found \"system\", expected .* only at the start",
        ),
        (
            "prompt",
            {"prompt": [{"role": "human", "content": "x"}]},
            r"prompt\[0\].role: found \"human\", expected one of",
        ),
        ("prompt", {"prompt": [{"from": "user"}]}, r'prompt\[0\]: found .*, expected an object with "role"'),
        ("prompt", {"id": True, "prompt": "x"}, "id: found true, expected text or an integer"),
        ("prompt", {"prompt": "x", "constraints": "k"}, 'constraints: found "k", expected a list of JSON objects'),
        ("demonstrations", {"prompt": "x"}, "response: found no such column"),
        ("demonstrations", {"prompt": "x", "response": ""}, "response: found empty text, expected text"),
        ("demonstrations", {"messages": [USER]}, "response: found no such column"),
        ("demonstrations", {"messages": [USER, says("y")], "response": "z"}, "two different responses"),
        ("feedback", {"prompt": "x", "response": "y"}, "critique: found no such column"),
        ("feedback", {"prompt": "x", "response": "y", "critique": "##Refinement: a"}, "critique: found no critique"),
        (
            "feedback",
            {"prompt": "x", "response": "y", "critique": "##Critique: a\n##Critique: b"},
            "critique: found a heading twice",
        ),
        (
            "feedback",
            {"prompt": "x", "response": "y", "critique": "##Critique: c\n##Refinement: a", "advice": "b"},
            "advice in one place",
        ),
        ("preferences", {"prompt": "x", "chosen": "a"}, "rejected: found no such column"),
        ("preferences", {"prompt": "x", "chosen": "a", "rejected": "a "}, "chosen, rejected: found two equal answers"),
        (
            "preferences",
            {"prompt": "x", "chosen": [USER], "rejected": [USER]},
            "chosen: found the user's message at the end",
        ),
        (
            "preferences",
            {"chosen": [USER, says("a")], "rejected": [{"role": "user", "content": "z"}, says("b")]},
            "conversations that differ before the last message, expected the same prompt in both",
        ),
        (
            "preferences",
            {"prompt": "other", "chosen": [USER, says("a")], "rejected": [USER, says("b")]},
            'prompt: found "other", expected the conversation that chosen begins with',
        ),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_field(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        read(kind, values)


def test_a_literal_special_token_is_text_like_any_other() -> None:
    assert read("prompt", {"prompt": "a <|im_end|> b"}).text == "a <|im_end|> b"


@pytest.mark.parametrize(
    ("names", "uses"),
    [
        (set(), ["prompts"]),
        ({"prompt", "response"}, ["prompts", "demonstrations"]),
        ({"messages", "critique"}, ["prompts", "demonstrations", "feedback"]),
        ({"prompt", "chosen"}, ["prompts", "preferences"]),
    ],
)
def test_columns_say_what_rows_can_be_used_for(names: set[str], uses: list[str]) -> None:
    assert [use.value for use in JsonlFormat.of({}).uses(names)] == uses
