"""All kinds by name: ours, and users' own from the entry-point group ``boresight.verifiers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from .constraint import Constraint, InstructionKind
from .kinds import casing, edges, facts, language, layout, length, marks, tasks, words

ENTRY_POINT_GROUP = "boresight.verifiers"

KINDS: tuple[type[InstructionKind], ...] = (
    words.RequiredWord,
    words.RepeatedWord,
    words.ForbiddenWord,
    words.ForbiddenLetter,
    words.Placeholder,
    edges.FirstWord,
    edges.Label,
    edges.LastWord,
    edges.EndPhrase,
    edges.Signature,
    edges.Postscript,
    length.MaxWords,
    length.MinWords,
    length.MaxCharacters,
    length.Sentences,
    length.Paragraphs,
    layout.Bullets,
    layout.NumberedList,
    layout.JsonObject,
    layout.Heading,
    layout.Title,
    layout.TwoParts,
    marks.NoCommas,
    marks.Quoted,
    marks.Bracketed,
    marks.Bold,
    marks.Exclamation,
    marks.Question,
    casing.LowerCase,
    casing.UpperCase,
    casing.TitleCase,
    casing.CapitalWords,
    language.Language,
    tasks.Addition,
    tasks.Multiplication,
    tasks.LetterCount,
    tasks.WordCount,
    tasks.SpellBackwards,
    tasks.SpellOut,
    tasks.SortWords,
    tasks.YesOrNo,
)
"""Kinds that instructions are made of, in the order in which the maker takes turns."""

FACTS: tuple[type[facts.Fact], ...] = (facts.Choice, facts.Colour, facts.Number)
"""Kinds that say what is so in a medium; ``data make image-questions`` and its like make prompts of them."""

NEVER_TRAINED: frozenset[str] = frozenset(
    {
        "last_word",
        "bracketed",
        "title_case",
        "question",
        "postscript",
        "numbered_list",
        "sort_words",
        "multiplication",
    }
)
"""Kinds that occur in evaluation only, so that it shows what carries over to instructions nobody trained on."""

SIMPLE: tuple[str, ...] = (
    "first_word",
    "end_phrase",
    "signature",
    "required_word",
    "lower_case",
    "label",
    "quoted",
    "exclamation",
    "no_commas",
    "max_words",
)
"""Ten kinds that a model of a hundred million parameters can learn in minutes, with answers of one sentence."""

SIMPLE_NEVER_TRAINED: tuple[str, ...] = ("last_word", "bracketed", "postscript", "question")
"""What the simple kinds are extended by in evaluation."""


def parse(constraint: Mapping[str, Any]) -> Constraint:
    """The typed constraint of a data row.

    Raises StageFailure(InvalidData) for an unknown kind or a wrong parameter, naming it.
    """
    kind = constraint.get("kind")
    known = _known()
    if not isinstance(kind, str) or kind not in known:
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"a constraint has the kind {kind!r}, expected one of {', '.join(sorted(known))}; kinds of your own are "
            f'installed by a package with an entry point in "{ENTRY_POINT_GROUP}"',
        )
    return known[kind].from_json(constraint)


def kinds_named(names: Sequence[str]) -> tuple[type[InstructionKind], ...]:
    """Kinds for making instructions, in the order of ``names``. Raises StageFailure(InvalidConfig) for unknown ones."""
    by_name = {kind.kind: kind for kind in KINDS}
    for name in names:
        if name not in by_name:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'--kinds: found "{name}", expected simple, all or names from {", ".join(by_name)}',
            )
    return tuple(by_name[name] for name in names)


@cache
def _known() -> dict[str, type[Constraint]]:
    known: dict[str, type[Constraint]] = {kind.kind: kind for kind in (*KINDS, *FACTS)}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Constraint) and loaded.kind == point.name):
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'entry point "{point.name}" of {ENTRY_POINT_GROUP}: found {loaded!r}, expected a subclass of '
                f'{Constraint.__module__}.Constraint with kind = "{point.name}"',
            )
        if point.name in known:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'entry point "{point.name}" of {ENTRY_POINT_GROUP}: the kind exists already; choose another name',
            )
        known[point.name] = loaded
    return known
