"""What generates: requests in, sampled outputs out, whatever the engine. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from boresight_api.stages import Sampling

from ..models.medium import MediaSpan
from ..telemetry.stop import StopFlag


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One output to sample. ``seed`` comes from :func:`~boresight_trainer.data.seeds.derive_seed`.

    ``media`` stand on placeholder tokens of the prompt, in order.
    """

    id: str
    prompt_ids: tuple[int, ...]
    seed: int
    media: tuple[MediaSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled output.

    ``token_ids`` are exactly as sampled, the terminator included if one was sampled; then ``finished`` is true, else
    the output was cut at its longest length. ``text`` is without special tokens.
    """

    id: str
    token_ids: tuple[int, ...]
    finished: bool
    text: str


class Generator(Protocol):
    """An engine with a model loaded."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,
        *,
        stop: StopFlag | None = None,
    ) -> list[Generation]:
        """One output for each request, in the order of the requests.

        Between generation batches a requested ``stop`` raises :class:`~boresight_api.outcome.StageFailure` (Preempted).
        """
        ...
