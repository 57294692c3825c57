"""Filters match what they say, count it whether they drop it or keep it, and leave honest answers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boresight_api.enums import FilterAction
from boresight_api.stages import Filters
from boresight_trainer.data.filters import (
    KEPT,
    Candidate,
    Refined,
    count_matches,
    is_refusal,
    leaks_feedback,
    matched_filters,
    says_keep_it,
    verdict,
)
from boresight_trainer.data.language_feedback import LanguageFeedback, Unparsable

DROP = Filters()
GOOD = Candidate(
    prompt_text="Describe the sea in one sentence.",
    response="The sea is big. It is also blue.",
    critique="##Critique: It has two sentences.\n##Refinement: Write one sentence.",
    feedback=LanguageFeedback("It has two sentences.", "Write one sentence."),
    refined=Refined("The sea is big and blue.", tokens=7, finished=True),
)


def refined(text: str, *, tokens: int = 7, finished: bool = True) -> Candidate:
    return replace(GOOD, refined=Refined(text, tokens, finished))


def test_a_good_item_is_kept():
    assert matched_filters(GOOD, DROP) == ()
    assert verdict((), DROP) == KEPT


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (refined("The sea  is big. It is also blue.\n"), "identical"),
        (refined("The sea is big and", finished=False), "truncated"),
        (refined("", tokens=0), "minTokens"),
        (refined("I'm sorry, but I cannot describe the sea."), "refusal"),
        (refined("Here is the improved response: the sea is big."), "leaked"),
        (replace(GOOD, feedback=Unparsable.NO_ADVICE), "unparsable"),
        (replace(GOOD, feedback=LanguageFeedback("Good.", "Keep it as it is.")), "keepIt"),
        (replace(GOOD, refined=None, fits=False), "maxLength"),
    ],
)
def test_each_filter_matches_its_case_and_no_other_does(candidate, name):
    assert matched_filters(candidate, DROP) == (name,)
    assert verdict((name,), DROP) == name


@pytest.mark.parametrize("name", ["identical", "truncated", "refusal", "unparsable", "keepIt", "leaked"])
def test_a_filter_set_to_keep_counts_and_keeps(name):
    field = {"keepIt": "keep_it"}.get(name, name)
    keep = Filters(**{field: FilterAction.KEEP})
    assert verdict((name,), keep) == KEPT
    counts = count_matches([(name,), (), (name, "minTokens")], keep)
    assert counts[name] == {"matched": 2, "action": "Keep"}
    assert counts["minTokens"] == {"matched": 1, "action": "Drop"}


def test_the_first_filter_that_drops_gives_the_verdict_and_every_match_counts():
    candidate = replace(refined("", tokens=0, finished=False), feedback=Unparsable.NO_CRITIQUE)
    matched = matched_filters(candidate, DROP)
    assert matched == ("unparsable", "truncated", "minTokens")
    assert verdict(matched, DROP) == "unparsable"
    assert verdict(matched, Filters(unparsable=FilterAction.KEEP)) == "truncated"


def test_min_tokens_is_the_manifests():
    assert matched_filters(refined("Big.", tokens=3), Filters(min_tokens=4)) == ("minTokens",)
    assert matched_filters(refined("Big.", tokens=4), Filters(min_tokens=4)) == ()


@pytest.mark.parametrize(
    "advice",
    [
        "Keep it as it is.",
        "Keep it, nothing has to change.",
        "No changes needed.",
        "No further improvement is necessary.",
        "Leave the response as is.",
        "There is nothing to improve.",
        "The answer does not need any changes.",
        "Keep it.",
    ],
)
def test_advice_to_keep_the_answer_is_recognised(advice):
    assert says_keep_it(advice)


@pytest.mark.parametrize(
    "advice",
    [
        "Keep it under 30 words.",
        "Keep it as it is, but add a title.",
        "Write one sentence.",
        "Keep the answer short and use no commas.",
        "Change the ending; no title is needed.",
    ],
)
def test_advice_to_change_something_is_not(advice):
    assert not says_keep_it(advice)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot write a poem.", True),
        ("As an AI language model, I have no body.", True),
        ("Unfortunately, I am unable to answer.", True),
        ("I can write a poem: roses are red.", False),
        ("The patient said: I cannot walk.", False),
        ("Sorry is a card game.", False),
    ],
)
def test_refusals(text, refuses):
    assert is_refusal(text) is refuses


CRITIQUE = "The answer names only two of the planets and forgets to say how far they are from the sun."


@pytest.mark.parametrize(
    ("text", "prompt", "leaks"),
    [
        ("Here's the revised answer:\nMars and Venus.", "Name planets.", True),
        ("Sure, here is an improved version: Mars.", "Name planets.", True),
        ("##Critique: Mars", "Name planets.", True),
        ("Based on your feedback, Mars and Venus.", "Name planets.", True),
        ("This critique is right. Mars.", "Name planets.", True),
        ("It names only two of the planets and forgets to say how far away.", "Name planets.", True),
        ("Mars is 228 and Venus 108 million kilometres from the sun.", "Name planets.", False),
        ("Here is a list: Mars, Venus.", "Name planets.", False),
        ("A critique weighs a work; feedback helps its author.", "What is a critique?", False),
        ("Thank you for the feedback on the menu.", "Answer this: the feedback was good", False),
    ],
)
def test_leaks(text, prompt, leaks):
    assert leaks_feedback(text, prompt, CRITIQUE) is leaks
