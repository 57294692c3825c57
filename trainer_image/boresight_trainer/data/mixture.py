"""Rows for a recipe: several inputs read, checked, limited, split into train and holdout, weighted and merged.

The order of the steps decides what is comparable. Every row is read and gets its id; ``limit`` chooses among all rows
of an input, valid or not; invalid rows are counted against ``max_invalid_percent`` per input, so that a broken source
cannot hide in a large mixture; the holdout is chosen among the prompts of what is left; weights repeat training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from boresight_api.artifact import SourceRecord
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import DataInput, HoldoutSplit

from .align_anything import NoPair
from .formats import RowFormat, format_of
from .records import Demonstration, Feedback, Preference, Prompt
from .selection import content_of, held_out, limited, repetitions
from .sources import InvalidRow, RawRow, RowError, read_rows
from .uses import Use

if TYPE_CHECKING:
    from ..media.library import MediaLibrary

Record = Prompt | Demonstration | Feedback | Preference
R = TypeVar("R", Prompt, Demonstration, Feedback, Preference)
T = TypeVar("T")
Resolve = Callable[[DataInput], Path]
Convert = Callable[[RowFormat, RawRow, Prompt], tuple[T, ...]]

_EXAMPLES = 3


@dataclass(frozen=True)
class SourceCounts:
    """What became of the rows of one input."""

    uri: str
    read: int
    """Rows in its files."""
    selected: int
    """Rows left by ``limit``."""
    valid: int
    """Selected rows that became records."""
    invalid: int
    """Selected rows that could not be used."""
    without_pair: int
    """Selected rows whose annotators named no winner, where one was needed."""


@dataclass(frozen=True)
class Rows(Generic[R]):
    """The records of a mixture. Training rows that a weight repeats have ids that end in ``~2``, ``~3``, ..."""

    train: tuple[R, ...]
    holdout: tuple[R, ...]
    invalid: tuple[InvalidRow, ...]
    sources: tuple[SourceCounts, ...]


@dataclass(frozen=True)
class ReadRow(Generic[T]):
    """One row as read: its records, or why it has none. ``prompt`` is None only if it could not be read."""

    place: str
    """``<file>:<row number>``."""
    row_id: str
    prompt: Prompt | None
    records: tuple[T, ...]
    error: InvalidRow | None = None

    @property
    def file(self) -> str:
        """The name of its file."""
        return self.place.rpartition(":")[0]


def load_prompts(
    inputs: Sequence[DataInput],
    *,
    holdout: HoldoutSplit | None,
    seed: int,
    max_invalid_percent: Decimal,
    resolve: Resolve,
    library: MediaLibrary | None = None,
) -> Rows[Prompt]:
    """Prompts x; everything else in the rows is ignored.

    ``resolve`` gives the path of an input's file or folder. With a ``library``, media of the rows are entered there and
    known by their digests, and a row with a medium that cannot be used is invalid. Raises :class:`StageFailure`
    (InvalidData) if too many rows are invalid or no row is left, naming file, row and field.
    """
    return _load(inputs, _prompts, holdout, seed, max_invalid_percent, resolve, library)


def load_demonstrations(
    inputs: Sequence[DataInput],
    *,
    holdout: HoldoutSplit | None,
    seed: int,
    max_invalid_percent: Decimal,
    resolve: Resolve,
    library: MediaLibrary | None = None,
) -> Rows[Demonstration]:
    """(x, y) to imitate. As :func:`load_prompts`."""
    return _load(inputs, _demonstrations, holdout, seed, max_invalid_percent, resolve, library)


def load_feedback(
    inputs: Sequence[DataInput],
    *,
    holdout: HoldoutSplit | None,
    seed: int,
    max_invalid_percent: Decimal,
    resolve: Resolve,
    library: MediaLibrary | None = None,
) -> Rows[Feedback]:
    """(x, y, c). As :func:`load_prompts`; a row of AlignAnything gives one record a response."""
    return _load(inputs, _feedback, holdout, seed, max_invalid_percent, resolve, library)


def load_preferences(
    inputs: Sequence[DataInput],
    *,
    holdout: HoldoutSplit | None,
    seed: int,
    max_invalid_percent: Decimal,
    resolve: Resolve,
    library: MediaLibrary | None = None,
) -> Rows[Preference]:
    """(x, y+, y-). As :func:`load_prompts`; rows without a winner are counted, not invalid."""
    return _load(inputs, _preferences, holdout, seed, max_invalid_percent, resolve, library)


def source_records(inputs: Sequence[DataInput], rows: Rows[R]) -> tuple[SourceRecord, ...]:
    """What an artifact's manifest says about the data that was read."""
    return tuple(
        SourceRecord(name=f"data[{index}]", uri=value.uri, digest=value.digest, rows=counts.valid)
        for index, (value, counts) in enumerate(zip(inputs, rows.sources, strict=True))
        if value.digest is not None
    )


def read_input(
    value: DataInput, path: Path, convert: Convert[T], *, form: RowFormat | None = None
) -> Iterator[ReadRow[T]]:
    """Every row of an input in the order of its files. An id that a row repeats makes the later row invalid."""
    form = form or format_of(value)
    first: dict[str, str] = {}
    for file in form.files(path, split=value.split, files=value.files):
        for row in read_rows(file, form.needed):
            if isinstance(row, InvalidRow):
                yield ReadRow(f"{row.file}:{row.number}", file.row_id(row.number), None, (), row)
                continue
            read = _read(form, row, convert, file.row_id(row.number))
            if read.row_id in first and read.error is None:
                error = RowError("id", f'"{read.row_id}", which row {first[read.row_id]} has', "an id of its own")
                read = replace(read, row_id=file.row_id(row.number), records=(), error=error.at(row))
            first.setdefault(read.row_id, row.place)
            yield read


def raw_rows(value: DataInput, path: Path) -> Iterator[RawRow | InvalidRow]:
    """Every row of an input as it stands in its files."""
    form = format_of(value)
    for file in form.files(path, split=value.split, files=value.files):
        yield from read_rows(file, form.needed)


def media_folders(value: DataInput, path: Path) -> Mapping[str, str]:
    """By the name of each file of an input: its folder below the source, from which its rows see media."""
    files = format_of(value).files(path, split=value.split, files=value.files)
    return {file.name: "" if file.alone else file.path.parent.relative_to(path).as_posix() for file in files}


def _read(form: RowFormat, row: RawRow, convert: Convert[T], row_id: str) -> ReadRow[T]:
    prompt = None
    try:
        row_id = form.row_id(row) or row_id
        prompt = form.prompt(row, row_id)
        return ReadRow(row.place, row_id, prompt, convert(form, row, prompt))
    except NoPair:
        return ReadRow(row.place, row_id, prompt, ())
    except RowError as error:
        return ReadRow(row.place, row_id, prompt, (), error.at(row))


def _prompts(_form: RowFormat, _row: RawRow, prompt: Prompt) -> tuple[Prompt, ...]:
    return (prompt,)


def _demonstrations(form: RowFormat, row: RawRow, prompt: Prompt) -> tuple[Demonstration, ...]:
    return form.demonstrations(row, prompt)


def _feedback(form: RowFormat, row: RawRow, prompt: Prompt) -> tuple[Feedback, ...]:
    return form.feedback(row, prompt)


def _preferences(form: RowFormat, row: RawRow, prompt: Prompt) -> tuple[Preference, ...]:
    return form.preferences(row, prompt)


CONVERSIONS: dict[Use, Callable[[RowFormat, RawRow, Prompt], tuple[Record, ...]]] = {
    Use.PROMPTS: _prompts,
    Use.DEMONSTRATIONS: _demonstrations,
    Use.FEEDBACK: _feedback,
    Use.PREFERENCES: _preferences,
}
"""What makes a row's records for a use."""


def _load(
    inputs: Sequence[DataInput],
    convert: Convert[R],
    holdout: HoldoutSplit | None,
    seed: int,
    max_invalid_percent: Decimal,
    resolve: Resolve,
    library: MediaLibrary | None,
) -> Rows[R]:
    sources = [_selected(value, resolve(value), convert, seed, library) for value in inputs]
    counts = tuple(_counted(value, source) for value, source in zip(inputs, sources, strict=True))
    for value, source, count in zip(inputs, sources, counts, strict=True):
        _check_invalid(value, source, count, max_invalid_percent)
    prompts = [row.prompt for source in sources for row in source.rows if row.prompt is not None]
    aside = held_out(prompts, holdout, seed) if holdout is not None else set()
    train: list[R] = []
    kept: list[R] = []
    for value, source, prefix in zip(inputs, sources, _prefixes(sources), strict=True):
        valid = [row for row in source.rows if row.prompt is not None and row.records]
        training = [row for row in valid if content_of(_prompt(row)) not in aside]
        times = repetitions([row.row_id for row in training], value.weight, seed)
        train += [_named(r, prefix, copy) for row in training for copy in range(times[row.row_id]) for r in row.records]
        kept += [_named(r, prefix, 0) for row in valid if content_of(_prompt(row)) in aside for r in row.records]
    if not train:
        raise _nothing_left(inputs, counts, len(kept))
    invalid = tuple(row.error for source in sources for row in source.rows if row.error is not None)
    return Rows(tuple(train), tuple(kept), invalid, counts)


@dataclass(frozen=True)
class _Source(Generic[R]):
    read: int
    rows: tuple[ReadRow[R], ...]


def _selected(value: DataInput, path: Path, convert: Convert[R], seed: int, library: MediaLibrary | None) -> _Source[R]:
    rows = tuple(read_input(value, path, convert))
    chosen = limited([row.row_id for row in rows], limit=value.limit, percent=value.limit_percent, seed=seed)
    selected = tuple(row for row in rows if row.row_id in chosen)
    return _Source(len(rows), selected if library is None else _by_content(selected, value, path, library))


def _by_content(
    rows: Sequence[ReadRow[R]], value: DataInput, path: Path, library: MediaLibrary
) -> tuple[ReadRow[R], ...]:
    """``rows`` with records whose media ``library`` holds. A prompt stays as the row has it: it decides the holdout."""
    from ..media.paths import SourcePaths
    from .content import with_content  # brings numpy and Pillow, for which rows of text have no use

    folders = media_folders(value, path)
    found = with_content(
        [(folders[row.file], row.records) for row in rows],
        library,
        SourcePaths(path, value.files),
        lambda: raw_rows(value, path),
    )
    return tuple(
        replace(row, records=(), error=records.at_place(row.place))
        if isinstance(records, RowError)
        else replace(row, records=records)
        for row, records in zip(rows, found, strict=True)
    )


def _counted(value: DataInput, source: _Source[R]) -> SourceCounts:
    invalid = sum(row.error is not None for row in source.rows)
    valid = sum(bool(row.records) for row in source.rows)
    selected = len(source.rows)
    return SourceCounts(value.uri, source.read, selected, valid, invalid, selected - valid - invalid)


def _check_invalid(value: DataInput, source: _Source[R], counts: SourceCounts, max_percent: Decimal) -> None:
    if Decimal(counts.invalid) * 100 <= max_percent * counts.selected:
        return
    errors = [row.error for row in source.rows if row.error is not None]
    examples = "; ".join(str(error) for error in errors[:_EXAMPLES])
    more = f"; and {len(errors) - _EXAMPLES} more" if len(errors) > _EXAMPLES else ""
    raise StageFailure(
        FailureClass.INVALID_DATA,
        f"{value.uri}: {counts.invalid} of {counts.selected} rows are invalid, more than maxInvalidPercent "
        f"{max_percent}: {examples}{more}. Correct the rows (`boresight data check` lists them all), or raise "
        "`data.maxInvalidPercent`",
    )


def _nothing_left(inputs: Sequence[DataInput], counts: Iterable[SourceCounts], kept: int) -> StageFailure:
    found = "; ".join(
        f"{c.uri}{f' split {v.split}' if v.split else ''}: {c.read} rows, {c.selected} within the limit, "
        f"{c.valid} valid, {c.without_pair} without a winner"
        for v, c in zip(inputs, counts, strict=True)
    )
    return StageFailure(
        FailureClass.INVALID_DATA,
        f"no row is left to work on ({found}; {kept} held out), expected at least one: name another split or file, or "
        "raise `limit` and `weight`",
    )


def _prefixes(sources: Sequence[_Source[R]]) -> list[str]:
    """What makes ids unique in the mixture: the input's number before its ids, if an earlier input has one of them."""
    seen: set[str] = set()
    prefixes = []
    for index, source in enumerate(sources):
        ids = {row.row_id for row in source.rows}
        prefixes.append("" if seen.isdisjoint(ids) else f"{index}/")
        seen |= ids
    return prefixes


def _prompt(row: ReadRow[R]) -> Prompt:
    if row.prompt is None:
        raise ValueError(f"{row.row_id}: a row with records has a prompt")
    return row.prompt


def _named(record: R, prefix: str, copy: int) -> R:
    suffix = f"~{copy + 1}" if copy else ""
    if not prefix and not suffix:
        return record
    if isinstance(record, Prompt):
        return replace(record, id=f"{prefix}{record.id}{suffix}")
    return replace(record, prompt=replace(record.prompt, id=f"{prefix}{record.prompt.id}{suffix}"))
