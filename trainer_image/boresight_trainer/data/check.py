"""Say what is in data before it costs anything: counts, lengths, what is wrong and where, duplicates, the holdout.

Reads rows exactly as a stage would, for every use that their columns allow.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight_api.stages import DataInput, HoldoutSplit, Templates

from .align_anything import NoPair
from .dialogues import critique_messages
from .formats import RowFormat, format_of
from .language_feedback import format_language_feedback
from .lengths import Lengths
from .mixture import CONVERSIONS, ReadRow, Record, media_folders, raw_rows, read_input
from .records import Demonstration, Feedback, Modality, Preference, Prompt, references_of
from .selection import content_of, held_out
from .sources import InvalidRow, RawRow, RowError
from .uses import Use

if TYPE_CHECKING:
    from .media_check import MediaReport, MediaSummary

FIRST = 5
"""How many places are named for one kind of problem."""


@dataclass(frozen=True)
class UseCounts:
    """Rows and records for one use."""

    rows: int
    records: int
    invalid: int
    without_pair: int


@dataclass(frozen=True)
class Problem:
    """One kind of problem: how often, and the first places."""

    field: str
    problem: str
    count: int
    places: tuple[str, ...]


@dataclass(frozen=True)
class Duplicates:
    """Records that say exactly the same: how many more than one, and the first groups of places."""

    extra: int
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check` found."""

    path: str
    files: tuple[str, ...]
    rows: int
    invalid_rows: int
    """Rows that at least one use cannot take, and rows that are too long."""
    uses: dict[Use, UseCounts]
    characters: dict[str, Lengths]
    tokens: dict[str, Lengths]
    """Empty without a tokenizer. Single texts, and whole conversations as a stage trains on them."""
    problems: tuple[Problem, ...]
    duplicate_prompts: Duplicates
    duplicate_records: Duplicates
    media: dict[Modality, MediaSummary]
    """By kind; empty if no row names media."""
    duplicate_media: Duplicates
    """Content that several rows name."""
    holdout_rows: int
    holdout_places: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data, field for field."""
        return asdict(self)


def check(
    value: DataInput,
    path: Path,
    *,
    uses: Sequence[Use] = (),
    holdout: HoldoutSplit,
    seed: int,
    tokenizer: Path | None = None,
    max_length: int | None = None,
    scratch: Path,
    decode_all: bool = False,
) -> CheckReport:
    """Read every row of ``value`` at ``path`` for ``uses`` (default: all that the columns allow).

    ``tokenizer`` is a model's folder; rows longer than ``max_length`` tokens are problems. Of media the headers are
    read and some are decoded, or all (``decode_all``); ``scratch`` is an empty folder for those that have no file.
    Raises :class:`StageFailure` for what makes the whole input unreadable; what is wrong with a row is in the report.
    """
    form = format_of(value)
    trial = _Trial(tuple(uses) or tuple(Use))
    rows = tuple(read_input(value, path, trial, form=form))
    wanted = tuple(uses) or form.uses(trial.columns)
    records = [(row.place, record) for row in rows for record in _records(row, wanted)]
    errors = [error for row in rows for error in _errors(row, wanted)]
    tokens: dict[str, Lengths] = {}
    if tokenizer is not None:
        counter = _TokenCounter(tokenizer, max_length)
        for place, record in records:
            counter.add(place, record)
        errors += counter.too_long
        tokens = _distributions(counter.lengths)
    media = _media(rows, wanted, value, path, seed, scratch, decode_all)
    if media is not None:
        errors += media.errors
    prompts = {row.place: row.prompt for row in rows if row.prompt is not None}
    aside = held_out(list(prompts.values()), holdout, seed)
    kept = [place for place, prompt in prompts.items() if content_of(prompt) in aside]
    return CheckReport(
        path=str(path),
        files=tuple(file.name for file in form.files(path, split=value.split, files=value.files)),
        rows=len(rows),
        invalid_rows=len({(error.file, error.number) for error in errors}),
        uses={use: _counts(rows, use) for use in wanted},
        characters=_distributions(_characters(records)),
        tokens=tokens,
        problems=_problems(errors),
        duplicate_prompts=_duplicates((place, content_of(prompt)) for place, prompt in prompts.items()),
        duplicate_records=_duplicates(
            (place, _content(record)) for place, record in records if not isinstance(record, Prompt)
        ),
        media={} if media is None else media.kinds,
        duplicate_media=_duplicates(() if media is None else media.contents),
        holdout_rows=len(kept),
        holdout_places=tuple(kept[:FIRST]),
    )


Attempt = dict[Use, tuple[Record, ...] | InvalidRow]
"""What each use makes of one row: records (none without a winner), or why it cannot."""


class _Trial:
    """Converts a row for several uses at once, and remembers which columns have values."""

    def __init__(self, uses: Sequence[Use]) -> None:
        self.columns: set[str] = set()
        self._uses = uses

    def __call__(self, form: RowFormat, row: RawRow, prompt: Prompt) -> tuple[Attempt, ...]:
        self.columns |= {name for name, value in row.values.items() if value is not None}
        return ({use: self._convert(use, form, row, prompt) for use in self._uses},)

    def _convert(self, use: Use, form: RowFormat, row: RawRow, prompt: Prompt) -> tuple[Record, ...] | InvalidRow:
        try:
            return CONVERSIONS[use](form, row, prompt)
        except NoPair:
            return ()
        except RowError as error:
            return error.at(row)


def _records(row: ReadRow[Attempt], uses: Sequence[Use]) -> Iterator[Record]:
    for attempt in row.records:
        for use in uses:
            if not isinstance(found := attempt[use], InvalidRow):
                yield from found


def _errors(row: ReadRow[Attempt], uses: Sequence[Use]) -> Iterator[InvalidRow]:
    if row.error is not None:
        yield row.error
    for attempt in row.records:
        yield from (found for use in uses if isinstance(found := attempt[use], InvalidRow))


def _counts(rows: Sequence[ReadRow[Attempt]], use: Use) -> UseCounts:
    valid = [len(records) for row in rows if (records := list(_records(row, (use,))))]
    invalid = sum(any(_errors(row, (use,))) for row in rows)
    return UseCounts(len(valid), sum(valid), invalid, len(rows) - len(valid) - invalid)


def _media(
    rows: Sequence[ReadRow[Attempt]],
    uses: Sequence[Use],
    value: DataInput,
    path: Path,
    seed: int,
    scratch: Path,
    decode_all: bool,
) -> MediaReport | None:
    """What there is to say of the media that rows name, if they name any."""
    references = {
        row.place: dict.fromkeys(r for one in _records(row, uses) for r in references_of(one)) for row in rows
    }
    if not any(references.values()):
        return None
    from ..media.library import MediaLibrary  # brings numpy and Pillow, for which rows of text have no use
    from ..media.paths import SourcePaths
    from .media_check import Naming, check_media

    folders = media_folders(value, path)
    named = [Naming(row.place, folders[row.file], tuple(references[row.place])) for row in rows]
    library = MediaLibrary(scratch, thorough=decode_all)
    return check_media(named, library, SourcePaths(path, value.files), lambda: raw_rows(value, path), seed)


def _parts(record: Record) -> Iterator[tuple[str, str]]:
    """The texts of a record by role."""
    match record:
        case Prompt():
            yield "prompt", "\n".join(message.content for message in record.messages)
        case Demonstration():
            yield "response", record.response
        case Feedback():
            yield "response", record.response
            yield "critique", record.critique
            if record.advice is not None:
                yield "advice", record.advice
            if record.refined_response is not None:
                yield "refined_response", record.refined_response
        case Preference():
            yield "chosen", record.chosen
            yield "rejected", record.rejected


def _characters(records: Sequence[tuple[str, Record]]) -> dict[str, list[int]]:
    """Characters of every text, a prompt's messages taken together; a text that two uses read counts once."""
    lengths: dict[str, dict[str, int]] = defaultdict(dict)
    for _, record in records:
        for role, text in _parts(record):
            lengths[role][record.id] = len(text)
    return {role: list(by_id.values()) for role, by_id in lengths.items()}


class _TokenCounter:
    """Tokens of every text, and of the whole conversation that a stage would train on."""

    def __init__(self, tokenizer: Path, max_length: int | None) -> None:
        from ..models.chat import ChatTokenizer

        self._chat = ChatTokenizer.from_folder(tokenizer)
        self._max_length = max_length
        self._lengths: dict[str, dict[str, int]] = defaultdict(dict)
        self._too_long: dict[tuple[str, str], InvalidRow] = {}

    @property
    def lengths(self) -> dict[str, list[int]]:
        """Role (or ``conversation of <use>``) -> tokens."""
        return {role: list(by_id.values()) for role, by_id in self._lengths.items()}

    @property
    def too_long(self) -> list[InvalidRow]:
        """One error a row and kind of conversation that is longer than the limit."""
        return list(self._too_long.values())

    def add(self, place: str, record: Record) -> None:
        """Count ``record``, which stands at ``place``."""
        for role, text in _parts(record):
            if role != "prompt":
                self._lengths[role][record.id] = len(self._chat.response_ids(text))
        name, whole = self._conversation(record)
        self._lengths[name][record.id] = whole
        if self._max_length is not None and whole > self._max_length:
            file, _, number = place.rpartition(":")
            error = InvalidRow(file, int(number), f"length of the {name}", f"{whole} tokens", f"<= {self._max_length}")
            self._too_long.setdefault((place, name), error)

    def _conversation(self, record: Record) -> tuple[str, int]:
        count = self._chat.prompt_ids, self._chat.response_ids
        match record:
            case Prompt():
                return "prompt", len(count[0](record.messages))
            case Demonstration():
                return "prompt and response", len(count[0](record.prompt.messages)) + len(count[1](record.response))
            case Feedback():
                request = critique_messages(record.prompt, record.response, Templates())
                feedback = format_language_feedback(record.critique, record.advice)
                return "request and feedback", len(count[0](request)) + len(count[1](feedback))
            case Preference():
                longer = max(len(count[1](record.chosen)), len(count[1](record.rejected)))
                return "prompt and longer answer", len(count[0](record.prompt.messages)) + longer


def _distributions(values: dict[str, list[int]]) -> dict[str, Lengths]:
    return {role: Lengths.of(items) for role, items in values.items() if items}


def _problems(errors: Sequence[InvalidRow]) -> tuple[Problem, ...]:
    """Errors by kind, the most frequent first; two that differ only in what was found are one kind."""
    kinds: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for error in errors:
        kinds[error.field, error.expected].setdefault(f"{error.file}:{error.number}", error.found)
    found = [
        Problem(
            name,
            f"expected {expected}",
            len(places),
            tuple(f"{place}: found {what}" for place, what in list(places.items())[:FIRST]),
        )
        for (name, expected), places in kinds.items()
    ]
    return tuple(sorted(found, key=lambda problem: -problem.count))


def _duplicates(items: Iterable[tuple[str, str]]) -> Duplicates:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for place, content in items:
        groups[hashlib.sha256(content.encode()).digest()].append(place)
    repeated = [places for places in groups.values() if len(places) > 1]
    extra = sum(len(places) - 1 for places in repeated)
    return Duplicates(extra, tuple(tuple(places[:FIRST]) for places in repeated[:FIRST]))


def _content(record: Record) -> str:
    prompt = record if isinstance(record, Prompt) else record.prompt
    return "\0".join([type(record).__name__, content_of(prompt), *(text for _, text in _parts(record))])
