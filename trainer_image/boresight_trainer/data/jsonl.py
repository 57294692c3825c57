"""The ``Jsonl`` source: rows whose columns are mapped by role. What a column means is said, never guessed.

A role that ``columns`` does not map is read from the column of its own name. ``refinement`` is no role: in
language-feedback data it is advice, in LLF output it is a rewritten answer, so the manifest must say which
(``columns: {advice: refinement}`` or ``{refined_response: refinement}``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from .fields import constraints_of, critique_of, ending_with_user, messages_of, prompt_of, text_of
from .media import MediaSupply, media_references
from .records import Demonstration, Feedback, Message, Modality, Preference, Prompt
from .sources import DataFile, RawRow, RowError, find_files, shown
from .uses import Use

AMBIGUOUS = "refinement"


class ColumnRole(StrEnum):
    """What a column can mean."""

    ID = "id"
    PROMPT = "prompt"
    MESSAGES = "messages"
    RESPONSE = "response"
    CRITIQUE = "critique"
    ADVICE = "advice"
    REFINED_RESPONSE = "refined_response"
    CHOSEN = "chosen"
    REJECTED = "rejected"
    CONSTRAINTS = "constraints"
    IMAGES = "images"
    AUDIOS = "audios"
    VIDEOS = "videos"


_MEDIA = {
    ColumnRole.IMAGES: Modality.IMAGE,
    ColumnRole.AUDIOS: Modality.AUDIO,
    ColumnRole.VIDEOS: Modality.VIDEO,
}


@dataclass(frozen=True)
class JsonlFormat:
    """Turns rows into records. ``columns`` is role -> column, complete."""

    columns: Mapping[ColumnRole, str]
    explicit: frozenset[ColumnRole]
    """The roles that the manifest maps itself."""

    @classmethod
    def of(cls, columns: Mapping[str, str]) -> JsonlFormat:
        """Raises :class:`StageFailure` (InvalidConfig) for a role that does not exist or a column with two roles."""
        roles = [role.value for role in ColumnRole]
        for name in columns:
            if name == AMBIGUOUS:
                raise StageFailure(FailureClass.INVALID_CONFIG, f"columns: {_AMBIGUITY}")
            if name not in roles:
                raise StageFailure(
                    FailureClass.INVALID_CONFIG, f'columns: found the role "{name}", expected one of {", ".join(roles)}'
                )
        explicit = {ColumnRole(role): column for role, column in columns.items()}
        if len(set(explicit.values())) < len(explicit):
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"columns: found one column under several roles in {shown(dict(columns))}, expected a column for each",
            )
        taken = set(explicit.values())
        default = {role: role.value for role in ColumnRole if role not in explicit and role.value not in taken}
        return cls({**default, **explicit}, frozenset(explicit))

    def files(self, root: Path, *, split: str | None, files: Sequence[str]) -> tuple[DataFile, ...]:
        """The files to read in ``root``, a file or a folder."""
        return find_files(root, split=split, files=files)

    def needed(self, names: Collection[str]) -> set[str]:
        """Those of a file's columns that are read at all."""
        return (set(self.columns.values()) | {AMBIGUOUS}) & set(names)

    def uses(self, names: Collection[str]) -> tuple[Use, ...]:
        """What rows with these columns can be used for."""
        present = {role for role, column in self.columns.items() if column in names}
        responds = ColumnRole.RESPONSE in present or ColumnRole.MESSAGES in present
        wanted = {
            Use.PROMPTS: True,
            Use.DEMONSTRATIONS: responds,
            Use.FEEDBACK: ColumnRole.CRITIQUE in present,
            Use.PREFERENCES: ColumnRole.CHOSEN in present or ColumnRole.REJECTED in present,
        }
        return tuple(use for use, possible in wanted.items() if possible)

    def row_id(self, row: RawRow) -> str | None:
        """The row's own id, if it has one."""
        value = self._get(row, ColumnRole.ID)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise RowError(self.columns[ColumnRole.ID], shown(value), "text or an integer")
        return str(value)

    def prompt(self, row: RawRow, row_id: str) -> Prompt:
        """x: the ``prompt``, or what stands before the response in ``messages``, ``chosen`` or ``rejected``."""
        constraints = constraints_of(self._get(row, ColumnRole.CONSTRAINTS), self._name(ColumnRole.CONSTRAINTS))
        return Prompt(row_id, self._prompt_messages(row), constraints)

    def demonstrations(self, row: RawRow, prompt: Prompt) -> tuple[Demonstration, ...]:
        """(x, y)."""
        self._refuse_ambiguity(row)
        return (Demonstration(prompt, self._response(row)),)

    def feedback(self, row: RawRow, prompt: Prompt) -> tuple[Feedback, ...]:
        """(x, y, c), with y* where the row has it."""
        self._refuse_ambiguity(row)
        response = self._response(row)
        critique, advice = critique_of(self._required(row, ColumnRole.CRITIQUE), self._name(ColumnRole.CRITIQUE))
        separate = self._get(row, ColumnRole.ADVICE)
        if separate is not None:
            if advice is not None:
                name = self._name(ColumnRole.CRITIQUE)
                raise RowError(name, "##Refinement: although there is a column for advice", "advice in one place")
            advice = text_of(separate, self._name(ColumnRole.ADVICE))
        refined = self._get(row, ColumnRole.REFINED_RESPONSE)
        refined_response = None if refined is None else text_of(refined, self._name(ColumnRole.REFINED_RESPONSE))
        return (Feedback(prompt, response, critique, advice, refined_response),)

    def preferences(self, row: RawRow, prompt: Prompt) -> tuple[Preference, ...]:
        """(x, y+, y-)."""
        self._refuse_ambiguity(row)
        chosen = self._answer(row, ColumnRole.CHOSEN)
        rejected = self._answer(row, ColumnRole.REJECTED)
        if chosen.strip() == rejected.strip():
            raise RowError(
                f"{self._name(ColumnRole.CHOSEN)}, {self._name(ColumnRole.REJECTED)}",
                "two equal answers",
                "a difference",
            )
        return (Preference(prompt, chosen, rejected),)

    # -- columns -----------------------------------------------------------------------------------------------------

    def _name(self, role: ColumnRole) -> str:
        return self.columns.get(role, role.value)

    def _get(self, row: RawRow, role: ColumnRole) -> Any:
        column = self.columns.get(role)
        return None if column is None else row.values.get(column)

    def _required(self, row: RawRow, role: ColumnRole) -> Any:
        value = self._get(row, role)
        if value is None:
            raise _missing(row, self._name(role), role)
        return value

    def _refuse_ambiguity(self, row: RawRow) -> None:
        if row.values.get(AMBIGUOUS) is not None and AMBIGUOUS not in self.columns.values():
            raise StageFailure(FailureClass.INVALID_CONFIG, f"{row.file} row {row.number}: {_AMBIGUITY}")

    # -- conversations -----------------------------------------------------------------------------------------------

    def _conversation(self, row: RawRow) -> tuple[Message, ...] | None:
        """``messages`` if that is where the row's conversation is; None if it is in ``prompt`` or in the answers."""
        messages, prompt = self._get(row, ColumnRole.MESSAGES), self._get(row, ColumnRole.PROMPT)
        if messages is None or (prompt is not None and self._prefers(ColumnRole.PROMPT, ColumnRole.MESSAGES)):
            return None
        if prompt is not None and not self._prefers(ColumnRole.MESSAGES, ColumnRole.PROMPT):
            raise RowError(
                f"{self._name(ColumnRole.PROMPT)}, {self._name(ColumnRole.MESSAGES)}",
                "both columns",
                "one of them: map the one that counts in `columns`",
            )
        return messages_of(messages, self._name(ColumnRole.MESSAGES), self._supply(row))

    def _supply(self, row: RawRow) -> MediaSupply:
        """The media in the row's columns, for one of its conversations."""
        columns = {
            modality: (self._name(role), media_references(self._get(row, role), modality, self._name(role)))
            for role, modality in _MEDIA.items()
        }
        return MediaSupply(columns)

    def _prefers(self, role: ColumnRole, other: ColumnRole) -> bool:
        return role in self.explicit and other not in self.explicit

    def _prompt_messages(self, row: RawRow) -> tuple[Message, ...]:
        conversation = self._conversation(row)
        if conversation is not None:
            before = conversation[:-1] if conversation[-1].role == "assistant" else conversation
            return ending_with_user(before, self._name(ColumnRole.MESSAGES))
        named = self._get(row, ColumnRole.PROMPT)
        prompt = None if named is None else prompt_of(named, self._name(ColumnRole.PROMPT), self._supply(row))
        shared = self._shared_prefix(row)
        if shared and prompt and shared[-len(prompt) :] != prompt:
            raise RowError(self._name(ColumnRole.PROMPT), shown(named), "the conversation that chosen begins with")
        messages = shared or prompt
        if not messages:
            raise _missing(row, self._name(ColumnRole.PROMPT), ColumnRole.PROMPT)
        return messages

    def _shared_prefix(self, row: RawRow) -> tuple[Message, ...]:
        """What ``chosen`` and ``rejected`` have before their answers when they are whole conversations."""
        prefixes = {
            messages_of(value, self._name(role), self._supply(row))[:-1]
            for role in (ColumnRole.CHOSEN, ColumnRole.REJECTED)
            if isinstance(value := self._get(row, role), list)
        }
        if len(prefixes) > 1:
            name = f"{self._name(ColumnRole.CHOSEN)}, {self._name(ColumnRole.REJECTED)}"
            raise RowError(name, "conversations that differ before the last message", "the same prompt in both")
        prefix = prefixes.pop() if prefixes else ()
        return ending_with_user(prefix, self._name(ColumnRole.CHOSEN)) if prefix else ()

    def _response(self, row: RawRow) -> str:
        conversation = self._conversation(row)
        in_messages = conversation[-1] if conversation and conversation[-1].role == "assistant" else None
        named = self._get(row, ColumnRole.RESPONSE)
        if in_messages is None:
            return text_of(self._required(row, ColumnRole.RESPONSE), self._name(ColumnRole.RESPONSE))
        if named is not None and named != in_messages.content:
            name = f"{self._name(ColumnRole.RESPONSE)}, {self._name(ColumnRole.MESSAGES)}"
            raise RowError(name, "two different responses", "messages that end with the user, or no response column")
        return in_messages.content

    def _answer(self, row: RawRow, role: ColumnRole) -> str:
        value, name = self._required(row, role), self._name(role)
        if not isinstance(value, list):
            return text_of(value, name)
        last = messages_of(value, name, self._supply(row))[-1]
        if last.role != "assistant":
            raise RowError(name, f"the {last.role}'s message at the end", "the assistant's")
        return last.content


_AMBIGUITY = (
    'found a column "refinement", which may be advice or a rewritten answer; write columns: {advice: refinement} or '
    "{refined_response: refinement} (for pairs: {chosen: refinement, rejected: response})"
)


def _missing(row: RawRow, name: str, role: ColumnRole) -> RowError:
    if name in row.values:
        return RowError(name, "nothing", f"the row's {role}")
    return RowError(name, f"no such column (columns: {listed(row.values)})", f"the row's {role}; map it in `columns`")


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Names for a message, not too many."""
    names = list(names)
    return ", ".join(names[:limit]) + (f", and {len(names) - limit} more" if len(names) > limit else "") or "none"
