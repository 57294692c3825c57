"""Raw rows: which files a source has and what stands in them, whatever the rows mean.

JSONL and parquet are streamed; a line that is no JSON object is one invalid row, a file that cannot be read at all
ends the stage. Needs pyarrow only for parquet.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from ..media.archives import is_archive

SUFFIXES = (".jsonl", ".json", ".parquet")
SPLIT_ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test",),
    "example": ("example",),
}
Needed = Callable[[Collection[str]], Collection[str]]
"""Which of a file's columns are read at all."""

_PARQUET_BATCH = 64  # rows hold images and audio: a batch stays small


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a source."""

    path: Path
    name: str
    """Relative to the source, with forward slashes: stable wherever the source lies."""
    alone: bool = False
    """Whether it is the source itself: its content alone identifies it then, so its name must decide nothing."""

    def row_id(self, number: int) -> str:
        """The id of a row that names none itself: ``<file>:<row number>``, or ``:<row number>`` in a file alone."""
        return f":{number}" if self.alone else f"{self.name}:{number}"


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it stands in its file."""

    file: str
    number: int
    """From 1: the line of a JSONL file, the element of a JSON array, the row of a parquet file."""
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """``<file>:<row number>``, as messages name the row."""
        return f"{self.file}:{self.number}"


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be used: where it is, what was found and what was expected."""

    file: str
    number: int
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file} row {self.number}: {self.field}: found {self.found}, expected {self.expected}"


class RowError(Exception):
    """A field of a row is not what its role asks for."""

    def __init__(self, field: str, found: str, expected: str) -> None:
        super().__init__(f"{field}: found {found}, expected {expected}")
        self.field = field
        self.found = found
        self.expected = expected

    def at(self, row: RawRow) -> InvalidRow:
        """The same complaint with its place."""
        return InvalidRow(row.file, row.number, self.field, self.found, self.expected)

    def at_place(self, place: str) -> InvalidRow:
        """As :meth:`at`, for a row known by its ``<file>:<row number>``."""
        file, _, number = place.rpartition(":")
        return InvalidRow(file, int(number), self.field, self.found, self.expected)


def shown(value: object, limit: int = 60) -> str:
    """``value`` as an error message shows it: short, on one line."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False, default=lambda item: f"<{type(item).__name__}>")
    return text if len(text) <= limit else f"{text[:limit]}..."


def find_files(root: Path, *, split: str | None, files: Sequence[str] = ()) -> tuple[DataFile, ...]:
    """The files of a source that hold rows: ``files`` in their order, or all that ``split`` names, or all.

    Archives among ``files`` hold the rows' media.
    Without a split, a folder that has a ``train`` split means that, and any other folder all of its files. Raises
    :class:`StageFailure` (InvalidData) if a file is missing, none matches, or it cannot be told which are meant.
    """
    if not root.exists():
        raise _no_data(f"{root}: found no such file or folder: correct the uri")
    if root.is_file():
        if files or split is not None:
            option = "files" if files else "split"
            raise _no_data(
                f"{root.name}: found `{option}` beside a single file, expected a folder: leave `{option}` out"
            )
        return (DataFile(_known(root), root.name, alone=True),)
    if files:
        here = [(name, _present(root, name)) for name in files]
        rows = tuple(DataFile(_known(path), name) for name, path in here if not is_archive(name))
        if not rows:
            raise _no_data(f"files: found archives alone ({', '.join(files)}), expected a file of rows beside them")
        return rows
    present = [DataFile(p, p.relative_to(root).as_posix()) for p in sorted(root.rglob("*")) if _is_data(root, p)]
    if not present:
        raise _no_data(f"{root}: found no {', '.join(SUFFIXES)} file, expected at least one")
    if split is None:
        return tuple(_unambiguous([f for f in present if split_of(f.name) == "train"] or present))
    wanted = canonical_split(split)
    chosen = [file for file in present if split_of(file.name) == wanted]
    if not chosen:
        splits = sorted({found for file in present if (found := split_of(file.name))})
        names = ", ".join(file.name for file in present[:8])
        raise _no_data(
            f'split: found no file of the split "{split}" (files: {names}; splits: {", ".join(splits) or "none"}): '
            "correct `split`, or name the `files`"
        )
    return tuple(_unambiguous(chosen))


def canonical_split(split: str) -> str:
    """One name for a split: ``validation`` and ``dev`` are ``val``."""
    return next((name for name, aliases in SPLIT_ALIASES.items() if split in aliases), split)


def split_of(name: str) -> str | None:
    """The split that a file's name says: ``train.jsonl``, ``val_1k.parquet``, ``train-00000-of-00002.parquet``,
    ``train/part-0.parquet``; None if it says none."""
    for part in reversed(name.split("/")):
        word = part.split(".")[0].replace("-", "_").split("_")[0].lower()
        for split, aliases in SPLIT_ALIASES.items():
            if word in aliases:
                return split
    return None


def read_rows(file: DataFile, needed: Needed) -> Iterator[RawRow | InvalidRow]:
    """Every row of a file; of a parquet file only the columns that ``needed`` chooses from those there.

    Raises :class:`StageFailure` (InvalidData) if the file as a whole cannot be read.
    """
    reader = {".jsonl": _read_jsonl, ".json": _read_json, ".parquet": _read_parquet}[file.path.suffix]
    try:
        yield from reader(file, needed)
    except OSError as error:
        raise StageFailure(
            FailureClass.INFRASTRUCTURE, f"{file.path}: could not be read: {error.strerror or error}; try again"
        ) from error


def _read_jsonl(file: DataFile, _: Needed) -> Iterator[RawRow | InvalidRow]:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                yield _parse_line(file.name, number, text)


def _parse_line(name: str, number: int, line: bytes) -> RawRow | InvalidRow:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return InvalidRow(name, number, "line", f"byte {line[error.start]:#04x} at {error.start + 1}", "UTF-8 text")
    except ValueError as error:
        return InvalidRow(name, number, "line", f"no JSON ({error})", "one JSON object")
    except RecursionError:
        return InvalidRow(name, number, "line", "JSON nested too deeply to be read", "one JSON object")
    return _as_row(name, number, value)


def _read_json(file: DataFile, _: Needed) -> Iterator[RawRow | InvalidRow]:
    try:
        value = json.loads(file.path.read_bytes().removeprefix(codecs.BOM_UTF8).decode())
    except ValueError as error:
        raise _no_data(
            f"{file.name}: found no JSON ({error}); a file with one object a line is named .jsonl"
        ) from error
    except RecursionError as error:
        raise _no_data(f"{file.name}: found JSON nested too deeply to be read, expected an array of objects") from error
    if not isinstance(value, list):
        raise _no_data(f"{file.name}: found {shown(value)}, expected an array of objects")
    for number, item in enumerate(value, start=1):
        yield _as_row(file.name, number, item)


def _as_row(name: str, number: int, value: object) -> RawRow | InvalidRow:
    if not isinstance(value, dict):
        return InvalidRow(name, number, "row", shown(value), "a JSON object")
    return RawRow(name, number, value)


def _read_parquet(file: DataFile, needed: Needed) -> Iterator[RawRow | InvalidRow]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file.path) as table:
            names = sorted(needed(table.schema_arrow.names))
            number = 0
            for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=names, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(file.name, number, values)
    except ArrowInvalid as error:
        raise _no_data(
            f"{file.name}: found no parquet ({str(error).splitlines()[0]}): download the file again"
        ) from error


def _is_data(root: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix in SUFFIXES and not hidden and path.is_file()


def _present(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file() or ".." in Path(name).parts:
        names = ", ".join(sorted(p.name for p in root.iterdir())[:8])
        raise _no_data(f'files: found no "{name}" in {root}, which has {names or "nothing"}: correct `files`')
    return path


def _known(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise _no_data(f"{path.name}: found a file of unknown kind, expected one of {', '.join(SUFFIXES)}")
    return path


def _unambiguous(files: list[DataFile]) -> list[DataFile]:
    """Refuse a choice between copies of the same rows: several kinds of file, or files in several folders."""
    for what, values in (
        ("kinds of file", {file.path.suffix for file in files}),
        ("folders", {str(Path(file.name).parent) for file in files}),
    ):
        if len(values) > 1:
            names = ", ".join(file.name for file in files[:6])
            raise _no_data(f"files: found several {what} ({names}), expected one: name the `files` that are meant")
    return files


def _no_data(message: str) -> StageFailure:
    return StageFailure(FailureClass.INVALID_DATA, message)
