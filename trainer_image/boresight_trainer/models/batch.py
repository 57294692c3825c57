"""The one batch type: samples are trees of token segments; a pack holds many of them on one flat axis, unpadded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .attention import AttentionPlan
from .layout import lay_out
from .medium import MediaSpan, Medium, chain_positions


@dataclass(frozen=True, eq=False)
class Segment:
    """A run of tokens that continues its parent (an earlier segment of the sample) or starts anew.

    ``tokens`` is ``[length]`` int32. Tokens from ``scored_from`` on are targets; at ``len(tokens)`` nothing is.
    ``media`` stand in order on placeholder tokens before ``scored_from``.
    """

    tokens: npt.NDArray[np.int32]
    parent: int | None
    scored_from: int
    media: tuple[MediaSpan, ...] = ()

    @property
    def is_response(self) -> bool:
        """Whether anything in it is scored."""
        return self.scored_from < len(self.tokens)


@dataclass(frozen=True, eq=False)
class Sample:
    """What is scored together: a prompt and its response, a prompt and a pair, a tree of critiques.

    Raises ``ValueError`` if a parent does not come before its child, if ``scored_from`` lies outside its segment, if a
    medium does not lie whole before it, or if a response has no token that anything precedes (a single token after an
    empty prompt cannot be predicted).
    """

    id: str
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        for number, segment in enumerate(self.segments):
            if segment.parent is not None and not 0 <= segment.parent < number:
                raise ValueError(
                    f'sample "{self.id}": segment {number} has parent {segment.parent}, expected one before it'
                )
            if not 0 <= segment.scored_from <= len(segment.tokens):
                raise ValueError(
                    f'sample "{self.id}": segment {number} is scored from token {segment.scored_from}, '
                    f"expected 0 to {len(segment.tokens)}"
                )
            self._check_media(number)
            if segment.is_response and self._first_target(number) == len(segment.tokens):
                raise ValueError(
                    f'sample "{self.id}": segment {number} is one token after an empty prompt; nothing predicts it'
                )

    @classmethod
    def of_response(
        cls,
        id: str,  # noqa: A002
        prompt_ids: Sequence[int],
        response_ids: Sequence[int],
        *,
        media: Sequence[MediaSpan] = (),
    ) -> Sample:
        """A prompt, with its media, and one response, all of whose tokens are scored."""
        _require_tokens(id, {"response": response_ids})
        return cls(id, (_prompt(prompt_ids, media), _response(response_ids, 0)))

    @classmethod
    def of_pair(
        cls,
        id: str,  # noqa: A002
        prompt_ids: Sequence[int],
        chosen_ids: Sequence[int],
        rejected_ids: Sequence[int],
        *,
        media: Sequence[MediaSpan] = (),
        share: bool = True,
    ) -> Sample:
        """A prompt, with its media, with a chosen and a rejected response, which come out in this order.

        With ``share`` both continue one prompt segment. Without it (for models whose layers cannot branch: recurrent
        ones, images with bidirectional attention) each has a prompt of its own.
        """
        _require_tokens(id, {"chosen response": chosen_ids, "rejected response": rejected_ids})
        prompt = _prompt(prompt_ids, media)
        if share:
            return cls(id, (prompt, _response(chosen_ids, 0), _response(rejected_ids, 0)))
        return cls(id, (prompt, _response(chosen_ids, 0), prompt, _response(rejected_ids, 2)))

    @property
    def num_tokens(self) -> int:
        """Tokens on the flat axis, shared prefixes counted once."""
        return sum(len(segment.tokens) for segment in self.segments)

    @property
    def num_targets(self) -> int:
        """Scored tokens, over all responses."""
        return sum(self.response_lengths)

    @property
    def response_lengths(self) -> tuple[int, ...]:
        """Scored tokens of each response segment."""
        return tuple(
            len(segment.tokens) - self._first_target(number)
            for number, segment in enumerate(self.segments)
            if segment.is_response
        )

    def _check_media(self, number: int) -> None:
        """Media lie one after the other, none of them cut or scored."""
        segment = self.segments[number]
        free = 0
        for span in segment.media:
            if not free <= span.start <= span.stop <= segment.scored_from:
                raise ValueError(
                    f'sample "{self.id}": segment {number} has {span.medium.modality} at tokens {span.start} to '
                    f"{span.stop}, expected a whole medium within tokens {free} to {segment.scored_from}; media are "
                    "never cut"
                )
            free = span.stop

    def _first_target(self, number: int) -> int:
        """First scored token that has a predecessor."""
        segment = self.segments[number]
        return max(segment.scored_from, 0 if self.last_token_before(number) is not None else 1)

    def last_token_before(self, number: int) -> int | None:
        """Offset within the sample of the last token of segment ``number``'s chain of ancestors; None without one."""
        parent = self.segments[number].parent
        while parent is not None:
            if len(self.segments[parent].tokens):
                return sum(len(segment.tokens) for segment in self.segments[: parent + 1]) - 1
            parent = self.segments[parent].parent
        return None

    def targets(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of segment ``number``: offsets within the sample of the tokens that predict, and the tokens predicted."""
        segment = self.segments[number]
        first = self._first_target(number)
        start = sum(len(before.tokens) for before in self.segments[:number])
        sources = np.arange(start + first - 1, start + len(segment.tokens) - 1, dtype=np.int64)
        before = self.last_token_before(number)
        if first == 0 and before is not None and len(sources):
            sources[0] = before
        return sources, segment.tokens[first:].astype(np.int64)


@dataclass(frozen=True, eq=False)
class PackMedia:
    """The distinct media of a pack, and where their ``F`` features stand: once each, however often they occur."""

    distinct: tuple[Medium, ...]
    """In order of first appearance; the features of all of them, one after the other, have ``F`` rows."""
    tokens: Tensor
    """``[M]`` int64: flat positions of placeholder tokens, ascending; none occurs twice."""
    features: Tensor
    """``[M]`` int64: for each of them its row of the features."""


@dataclass(frozen=True, eq=False)
class Pack:
    """One micro-batch on one device. ``T`` tokens, ``N`` targets, ``R`` responses."""

    input_ids: Tensor
    """``[T]`` int64."""
    position_ids: Tensor
    """``[T]`` int64, continuing along each chain of segments; ``[3, T]`` where media stand on a grid (M-RoPE)."""
    attention: AttentionPlan
    """Which keys each query sees."""
    target_positions: Tensor
    """``[N]`` int64: flat position whose hidden state predicts the target; several targets may share one."""
    target_ids: Tensor
    """``[N]`` int64: the token predicted."""
    response_lengths: tuple[int, ...]
    """``R`` target counts, responses in sample order."""
    sample_ids: tuple[str, ...]
    """Ids of the samples, in order."""
    max_token_id: int
    """The largest token id, known on the host."""
    media: PackMedia | None = None
    """None in a pack of text alone."""

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.input_ids.shape[0]

    @property
    def num_targets(self) -> int:
        """N."""
        return self.target_ids.shape[0]

    @cached_property
    def lengths(self) -> Tensor:
        """``[R]`` int64 target counts on the pack's device."""
        return torch.tensor(self.response_lengths, dtype=torch.int64).to(self.input_ids.device, non_blocking=True)


def build_pack(samples: Sequence[Sample], device: torch.device | str = "cpu") -> Pack:
    """Lay samples one after the other on the flat axis.

    Without samples the pack is a single token and no target: its scores are empty but connected to every parameter, so
    that a rank that has run out of samples takes part in every collective (weight zero).
    """
    device = torch.device(device)
    segments = [segment for sample in samples for segment in sample.segments]
    starts = np.concatenate([[0], np.cumsum([len(sample.segments) for sample in samples])]).astype(int)
    parents = [
        None if segment.parent is None else int(start) + segment.parent
        for sample, start in zip(samples, starts, strict=False)
        for segment in sample.segments
    ]
    tokens = [segment.tokens for segment in segments]
    lengths = [len(run) for run in tokens]
    if not sum(lengths):
        tokens, lengths, parents = [np.zeros(1, np.int32)], [1], [None]
    flat = np.concatenate(tokens).astype(np.int64)
    layout = lay_out(lengths, parents)
    sources, ids, counts = _targets(samples)
    media = [segment.media for segment in segments]

    def place(array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(device, non_blocking=True)

    return Pack(
        input_ids=place(flat),
        position_ids=place(pack_positions(layout.positions, lengths, parents, media)),
        attention=AttentionPlan.build(layout.rows, device),
        target_positions=place(sources),
        target_ids=place(ids),
        response_lengths=counts,
        sample_ids=tuple(sample.id for sample in samples),
        max_token_id=int(flat.max()),
        media=place_media(lengths, media, device),
    )


def pack_positions(
    running: npt.NDArray[np.int32],
    lengths: Sequence[int],
    parents: Sequence[int | None],
    media: Sequence[Sequence[MediaSpan]],
) -> npt.NDArray[np.integer[Any]]:
    """Positions of the tokens of segments: ``running`` ``[T]``, or ``[3, T]`` if a medium stands on a grid."""
    if not any(span.medium.grid for spans in media for span in spans):
        return running
    return chain_positions(lengths, parents, media)[0]


def place_media(lengths: Sequence[int], media: Sequence[Sequence[MediaSpan]], device: torch.device) -> PackMedia | None:
    """Where the media of segments of ``lengths`` tokens stand on the flat axis; None if there are none."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    first_row: dict[str, int] = {}
    distinct: list[Medium] = []
    rows = 0
    tokens, features = [], []
    for start, spans in zip(starts, media, strict=False):
        for span in spans:
            if span.medium.id not in first_row:
                first_row[span.medium.id] = rows
                rows += span.medium.num_tokens
                distinct.append(span.medium)
            tokens.append(np.arange(start + span.start, start + span.stop))
            features.append(np.arange(span.medium.num_tokens) + first_row[span.medium.id])
    if not distinct:
        return None
    token_index, feature_index = (torch.from_numpy(np.concatenate(runs)).to(device) for runs in (tokens, features))
    return PackMedia(tuple(distinct), token_index, feature_index)


def _targets(
    samples: Sequence[Sample],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], tuple[int, ...]]:
    """Flat source positions, target ids, and the number of targets of each response."""
    sources, ids = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    offset = 0
    for sample in samples:
        for number, segment in enumerate(sample.segments):
            if segment.is_response:
                positions, tokens = sample.targets(number)
                sources.append(positions + offset)
                ids.append(tokens)
        offset += sample.num_tokens
    return np.concatenate(sources), np.concatenate(ids), tuple(len(run) for run in ids[1:])


def _prompt(ids: Sequence[int], media: Sequence[MediaSpan]) -> Segment:
    return Segment(np.asarray(ids, dtype=np.int32), None, len(ids), tuple(media))


def _response(ids: Sequence[int], parent: int) -> Segment:
    return Segment(np.asarray(ids, dtype=np.int32), parent, 0)


def _require_tokens(sample: str, responses: Mapping[str, Sequence[int]]) -> None:
    for name, ids in responses.items():
        if not len(ids):
            raise ValueError(f'sample "{sample}": the {name} has no tokens, expected at least its terminator')
