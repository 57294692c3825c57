"""The ``AlignAnything`` source: align-anything-200k (arXiv 2412.15838), one declarative field map for every subset.

A row holds one prompt, two responses, which is better overall and by dimension, and language feedback on each response.
Where the published schema is not known to its end, a field lists the names it may have by the pattern of the other
subsets; a row with none of them, or with two, is an error that lists the columns found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from boresight_api.outcome import FailureClass, StageFailure

from .fields import critique_of, text_of
from .jsonl import listed
from .media import media_reference
from .records import (
    Comparison,
    Demonstration,
    Feedback,
    MediaReference,
    Message,
    Modality,
    PlacedMedia,
    Preference,
    Prompt,
    Rating,
)
from .sources import DataFile, RawRow, RowError, canonical_split, find_files, shown
from .uses import Use

Number = Literal[1, 2]
NUMBERS: tuple[Number, Number] = (1, 2)


@dataclass(frozen=True)
class Media:
    """A media field: what it holds, and the names it may have."""

    modality: Modality
    names: tuple[str, ...]


@dataclass(frozen=True)
class Subset:
    """Where a subset keeps what. ``{n}`` in a name stands for the response's number, 1 or 2."""

    letters: str
    """Its name in the paper."""
    prompt: str
    winner: str
    """Overall winner: the number of the better response; anything else means that there is no valid pair."""
    feedback: tuple[str, ...]
    """Language feedback on one response."""
    response: str | None = None
    """Text of a response."""
    prompt_media: Media | None = None
    response_media: Media | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    """(letter, name): winner ``<letter>_<output>``, reasons ``<letter>_rationale_<n>``, scores ``<name>_rate_<n>``."""
    files: tuple[tuple[str, str], ...] = ()
    """(split, file) as the hub has them; where one is there it is the split, whatever lies beside it."""

    @property
    def output(self) -> str:
        """The kind of output in column names: ``overall_response`` -> ``response``."""
        return self.winner.removeprefix("overall_")


_TEXT_FEEDBACK = ("text_critique_{n}", "text_{n}_feedback")
_TEXT_DIMENSIONS = (
    ("p", "prompt_following"),
    ("o", "objective_rules"),
    ("c", "clarity"),
    ("i", "information_richness"),
    ("s", "safety"),
)

_TEXT_IMAGE_TO_TEXT = Subset(
    letters="TI2T",
    prompt="question",
    prompt_media=Media(Modality.IMAGE, ("image",)),
    response="response_{n}",
    winner="overall_response",
    feedback=_TEXT_FEEDBACK,
    dimensions=_TEXT_DIMENSIONS,
    files=(("train", "train_40k.parquet"), ("val", "val_1k.parquet")),
)

SUBSETS: dict[str, Subset] = {
    "text-to-text": Subset(
        letters="T2T",
        prompt="question",
        response="response_{n}",
        winner="overall_response",
        feedback=_TEXT_FEEDBACK,
        dimensions=_TEXT_DIMENSIONS,
    ),
    "text-image-to-text": _TEXT_IMAGE_TO_TEXT,
    "text-image-to-text-expert": replace(_TEXT_IMAGE_TO_TEXT, letters="TI2T expert", files=()),
    "text-image-to-text-image": Subset(
        letters="TI2TI",
        prompt="question",
        prompt_media=Media(Modality.IMAGE, ("image_url", "image")),
        response="response_{n}",
        response_media=Media(Modality.IMAGE, ("output_image_url_{n}", "output_image_{n}")),
        winner="overall_response",
        feedback=_TEXT_FEEDBACK,
        dimensions=(
            ("p", "prompt_following"),
            ("o", "objective_rules"),
            ("ca", "clarity_and_aesthetics"),
            ("i", "information_richness"),
            ("s", "safety"),
            ("c", "consistency"),
        ),
        files=(("train", "train_27k.json"),),
    ),
    "text-to-image": Subset(
        letters="T2I",
        prompt="prompt",
        response_media=Media(Modality.IMAGE, ("image_{n}",)),
        winner="overall_image",
        feedback=_TEXT_FEEDBACK,
        dimensions=(
            ("p", "prompt_following"),
            ("o", "objective_rules"),
            ("a", "aesthetics"),
            ("i", "information_richness"),
            ("s", "safety"),
        ),
        files=(("train", "train_30k.parquet"),),
    ),
    "text-audio-to-text": Subset(
        letters="TA2T",
        prompt="prompt",
        prompt_media=Media(Modality.AUDIO, ("audio_path",)),
        response="response_{n}",
        winner="overall_response",
        feedback=_TEXT_FEEDBACK,
        dimensions=_TEXT_DIMENSIONS,
    ),
    "text-to-audio": Subset(
        letters="T2A",
        prompt="prompt",
        response_media=Media(Modality.AUDIO, ("response_{n}",)),
        winner="overall_audio",
        feedback=("text_{n}_feedback",),
        dimensions=(
            ("p", "prompt_following"),
            ("o", "audio_quality"),
            ("a", "consistency"),
            ("i", "information_richness"),
            ("s", "safety"),
        ),
    ),
    "text-to-video": Subset(
        letters="T2V",
        prompt="prompt",
        response_media=Media(Modality.VIDEO, ("video_{n}", "video_path_{n}", "video_{n}_path", "response_{n}")),
        winner="overall_video",
        feedback=_TEXT_FEEDBACK,
        dimensions=(("p", "prompt_following"), ("i", "information_richness"), ("s", "safety")),
    ),
    "text-video-to-text": Subset(
        letters="TV2T",
        prompt="prompt",
        prompt_media=Media(Modality.VIDEO, ("video_path",)),
        response="response_{n}",
        winner="overall_response",
        feedback=("text_critique_{n}",),
        dimensions=_TEXT_DIMENSIONS,
        files=(("train", "train_10k.json"),),
    ),
}
"""By the name of the folder (and configuration) on the hub: ``PKU-Alignment/align-anything``, cc-by-nc-4.0."""


class NoPair(Exception):  # noqa: N818 no fault of the row: the annotators named no winner
    """The row is valid, but holds no preference."""


@dataclass(frozen=True)
class AlignAnythingFormat:
    """Turns rows of one subset into records."""

    name: str
    subset: Subset

    @classmethod
    def of(cls, name: str | None) -> AlignAnythingFormat:
        """Raises :class:`StageFailure` (InvalidConfig) for a subset that does not exist."""
        if name not in SUBSETS:
            known = ", ".join(f"{key} ({subset.letters})" for key, subset in SUBSETS.items())
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"subset: found {shown(name) if name else 'nothing'}, expected one of {known}",
            )
        return cls(name, SUBSETS[name])

    def files(self, root: Path, *, split: str | None, files: Sequence[str]) -> tuple[DataFile, ...]:
        """The subset's files in ``root``, which is the whole data set, the subset's folder or one file."""
        folder = root / self.name
        if files or not root.is_dir():
            return find_files(root, split=split, files=files)
        base = folder if folder.is_dir() else root
        known = dict(self.subset.files).get(canonical_split(split or "train"))
        if known is not None and (base / known).is_file():
            return find_files(base, split=None, files=(known,))
        return find_files(base, split=split)

    def needed(self, names: Collection[str]) -> set[str]:
        """Those of a file's columns that are read at all; which models answered is not."""
        return {name for name in names if not name.endswith(("_from", "_model")) and name not in ("model_1", "model_2")}

    def uses(self, names: Collection[str]) -> tuple[Use, ...]:
        """What rows with these columns can be used for."""
        uses = [Use.PROMPTS]
        if self.subset.winner in names:
            uses += [Use.DEMONSTRATIONS, Use.PREFERENCES]
        if any(pattern.format(n=n) in names for pattern in self.subset.feedback for n in NUMBERS):
            uses.append(Use.FEEDBACK)
        return tuple(uses)

    def row_id(self, _row: RawRow) -> str | None:
        """None: the data set has no ids."""
        return None

    def prompt(self, row: RawRow, row_id: str) -> Prompt:
        """x, with the media it is about."""
        text = text_of(_one_of(row, (self.subset.prompt,))[1], self.subset.prompt)
        before = tuple(PlacedMedia(0, reference) for reference in self._media(row, self.subset.prompt_media))
        return Prompt(row_id, (Message("user", text, before),))

    def demonstrations(self, row: RawRow, prompt: Prompt) -> tuple[Demonstration, ...]:
        """(x, y) with the better response. Raises :class:`NoPair` if none is better."""
        winner = self._winner(row)
        return (Demonstration(prompt, self._response(row, winner), self._response_media(row, winner)),)

    def feedback(self, row: RawRow, prompt: Prompt) -> tuple[Feedback, ...]:
        """(x, y, c) for every response that has feedback, which at least one must."""
        records = [record for n in NUMBERS if (record := self._feedback(row, prompt, n)) is not None]
        if not records:
            name, _ = _one_of(row, self.subset.feedback, n=1)
            raise RowError(name, "no feedback on either response", "feedback on at least one")
        return tuple(records)

    def preferences(self, row: RawRow, prompt: Prompt) -> tuple[Preference, ...]:
        """(x, y+, y-). Raises :class:`NoPair` if neither response is better."""
        better = self._winner(row)
        worse: Number = 2 if better == 1 else 1
        chosen, rejected = self._response(row, better), self._response(row, worse)
        media = self._response_media(row, better), self._response_media(row, worse)
        if (chosen.strip(), media[0]) == (rejected.strip(), media[1]):
            raise RowError("response_1, response_2", "two equal answers", "a difference")
        return (Preference(prompt, chosen, rejected, *media, self._comparisons(row, better)),)

    # -- fields ------------------------------------------------------------------------------------------------------

    def _winner(self, row: RawRow) -> Number:
        name, value = _one_of(row, (self.subset.winner,))
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise RowError(name, shown(value), "the number of the better response, 1 or 2")
        if value not in NUMBERS:
            raise NoPair
        return 1 if value == 1 else 2

    def _response(self, row: RawRow, n: Number) -> str:
        """The response's text; empty where the output is media alone."""
        if self.subset.response is None:
            return ""
        name, value = _one_of(row, (self.subset.response,), n=n)
        return text_of(value, name)

    def _response_media(self, row: RawRow, n: Number) -> tuple[MediaReference, ...]:
        return self._media(row, self.subset.response_media, n=n)

    def _media(self, row: RawRow, media: Media | None, n: Number | None = None) -> tuple[MediaReference, ...]:
        if media is None:
            return ()
        name, value = _one_of(row, media.names, n=n)
        return (media_reference(value, media.modality, name),)

    def _feedback(self, row: RawRow, prompt: Prompt, n: Number) -> Feedback | None:
        name, value = _one_of(row, self.subset.feedback, n=n)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        critique, advice = critique_of(value, name)
        return Feedback(
            prompt,
            self._response(row, n),
            critique,
            advice,
            response_number=n,
            response_media=self._response_media(row, n),
            ratings=tuple(
                rating
                for letter, name in self._dimensions(row)
                if (rating := _rating(row, letter, name, n)) is not None
            ),
        )

    def _dimensions(self, row: RawRow) -> Iterator[tuple[str | None, str]]:
        """(letter, name) of the table, then names of further ``<name>_rate_1`` columns, whose letter is not known."""
        yield from self.subset.dimensions
        known = {name for _, name in self.subset.dimensions}
        for column in row.values:
            name = column.removesuffix("_rate_1")
            if name != column and name not in known:
                yield None, name

    def _comparisons(self, row: RawRow, better: Number) -> tuple[Comparison, ...]:
        worse: Number = 2 if better == 1 else 1
        found = []
        for letter, name in self._dimensions(row):
            chosen, rejected = (_rating(row, letter, name, n) for n in (better, worse))
            if chosen and rejected:
                winner = _integer(row, f"{letter}_{self.subset.output}") if letter else None
                preferred: Literal["chosen", "rejected"] | None = (
                    "chosen" if winner == better else "rejected" if winner == worse else None
                )
                found.append(Comparison(name, preferred, chosen, rejected))
        return tuple(found)


def _rating(row: RawRow, letter: str | None, name: str, n: Number) -> Rating | None:
    """The rating of response ``n`` on a dimension; None if the row has neither score nor rationale."""
    score = _integer(row, f"{name}_rate_{n}")
    rationale = row.values.get(f"{letter}_rationale_{n}") if letter else None
    if rationale is not None and not isinstance(rationale, str):
        raise RowError(f"{letter}_rationale_{n}", shown(rationale), "text")
    return None if score is None and rationale is None else Rating(name, score, rationale)


def _integer(row: RawRow, name: str) -> int | None:
    value = row.values.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise RowError(name, shown(value), "an integer")
    return value


def _one_of(row: RawRow, patterns: tuple[str, ...], n: Number | None = None) -> tuple[str, Any]:
    """Name and value of the one column that has one of the names."""
    names = [pattern.format(n=n) for pattern in patterns]
    present = [name for name in names if name in row.values]
    if len(present) == 1:
        return present[0], row.values[present[0]]
    if not present:
        expected = " or ".join(names)
        raise RowError(expected, f"no such column (columns: {listed(row.values)})", "it; is this the right `subset`?")
    raise RowError(", ".join(present), "several columns for one thing", "one of them")
