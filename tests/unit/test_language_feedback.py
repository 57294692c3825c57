"""Critique and advice are found in the ways people and models write them, and in no other text."""

from __future__ import annotations

import pytest
from boresight_trainer.data.language_feedback import (
    LanguageFeedback,
    Unparsable,
    format_language_feedback,
    parse_language_feedback,
    split_language_feedback,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD = LanguageFeedback("Too long.", "Use one sentence.")


@pytest.mark.parametrize(
    "text",
    [
        "##Critique: Too long.\n\n##Refinement: Use one sentence.",
        "## Critique: Too long.\n## Refinement: Use one sentence.",
        "### CRITIQUE:\nToo long.\n### REFINEMENT:\nUse one sentence.",
        "**Critique:** Too long.\n**Refinement:** Use one sentence.",
        "**Critique**: Too long.\n**Refinement**: Use one sentence.",
        "##**Critique:** Too long.\n##**Refinement:** Use one sentence.",
        "Critique: Too long.\nRefinement: Use one sentence.",
        "  ##critique : Too long.\n  ##refinement : Use one sentence.  \n",
        "## Critique\nToo long.\n\n## Refinement\nUse one sentence.",
        "##Critique：Too long.\n##Refinement：Use one sentence.",
        "Sure, here it is.\n##Critique: Too long.\n##Refinement: Use one sentence.",
        "Too long.\n##Refinement: Use one sentence.",
        "##Refinement: Use one sentence.\n##Critique: Too long.",
    ],
)
def test_headings_are_read_tolerantly(text):
    assert parse_language_feedback(text) == GOOD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Unparsable.NO_CRITIQUE),
        ("   \n", Unparsable.NO_CRITIQUE),
        ("##Critique:\n##Refinement: Use one sentence.", Unparsable.NO_CRITIQUE),
        ("##Refinement: Use one sentence.", Unparsable.NO_CRITIQUE),
        ("##Critique: Too long.", Unparsable.NO_ADVICE),
        ("##Critique: Too long.\n##Refinement:", Unparsable.NO_ADVICE),
        ("The critique: it is a refinement of sorts", Unparsable.NO_ADVICE),
        ("##Critique: a\n##Refinement: b\n##Critique: c\n##Refinement: d", Unparsable.REPEATED_HEADING),
    ],
)
def test_text_without_both_parts_says_what_is_missing(text, reason):
    assert parse_language_feedback(text) is reason


def test_advice_may_be_missing_where_data_is_read():
    assert split_language_feedback("Too long.") == ("Too long.", None)
    assert split_language_feedback("##Critique: Too long.") == ("Too long.", None)
    assert split_language_feedback("##Critique: Too long.\n##Refinement: Cut.") == ("Too long.", "Cut.")
    assert split_language_feedback(" ") is Unparsable.NO_CRITIQUE


words = st.text(
    st.characters(codec="utf-8", exclude_characters="#*:：\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1
)


@given(words.filter(str.strip), words.filter(str.strip))
def test_what_is_formatted_is_parsed_again(critique, advice):
    text = format_language_feedback(critique, advice)
    assert parse_language_feedback(text) == LanguageFeedback(critique.strip(), advice.strip())
    assert split_language_feedback(format_language_feedback(critique, None)) == (critique.strip(), None)
