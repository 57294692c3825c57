"""One seam for the formats of data sources: what a format knows, and which one an input names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from boresight_api.enums import DataFormat
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import DataInput

from .align_anything import AlignAnythingFormat
from .jsonl import JsonlFormat
from .records import Demonstration, Feedback, Preference, Prompt
from .sources import DataFile, RawRow
from .uses import Use


class RowFormat(Protocol):
    """Turns raw rows into records. Every method that takes a row raises :class:`RowError` if the row is invalid."""

    def files(self, root: Path, *, split: str | None, files: Sequence[str]) -> tuple[DataFile, ...]:
        """The files to read below ``root``."""
        ...

    def needed(self, names: Collection[str]) -> set[str]:
        """The columns that are read at all."""
        ...

    def uses(self, names: Collection[str]) -> tuple[Use, ...]:
        """What rows with these columns can be used for."""
        ...

    def row_id(self, row: RawRow, /) -> str | None:
        """The id that the row names itself, stable within the source; None if it names none."""
        ...

    def prompt(self, row: RawRow, row_id: str) -> Prompt:
        """x."""
        ...

    def demonstrations(self, row: RawRow, prompt: Prompt) -> tuple[Demonstration, ...]:
        """(x, y)."""
        ...

    def feedback(self, row: RawRow, prompt: Prompt) -> tuple[Feedback, ...]:
        """(x, y, c)."""
        ...

    def preferences(self, row: RawRow, prompt: Prompt) -> tuple[Preference, ...]:
        """(x, y+, y-)."""
        ...


def format_of(value: DataInput) -> RowFormat:
    """The format that an input names, with its options. Raises :class:`StageFailure` (InvalidConfig)."""
    if value.format is DataFormat.JSONL:
        if value.subset is not None:
            raise StageFailure(
                FailureClass.INVALID_CONFIG, f'subset: found "{value.subset}", expected none: Jsonl has no subsets'
            )
        return JsonlFormat.of(value.columns)
    if value.columns:
        raise StageFailure(
            FailureClass.INVALID_CONFIG, "columns: found a mapping, expected none: AlignAnything's fields are known"
        )
    return AlignAnythingFormat.of(value.subset)
