"""What the step loop asks of an objective, and the objectives of the training recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from boresight_api.stages import DPOOptions

from ..models.batch import Sample
from ..models.scorer import Scores
from ..objectives import dpo_loss, sft_loss


class Objective(Protocol):
    """A loss over scores, and what a step's loss is divided by."""

    def count(self, sample: int) -> int:
        """What sample ``sample`` adds to the step's denominator: its targets (SFT) or 1 (pairs)."""

    def loss(self, scores: Scores, samples: Sequence[int]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """The *sum* of losses of ``samples``, whose responses ``scores`` holds in the same order, and sums of metrics.

        Metrics are detached scalars; the loop divides them by the step's count.
        """


class SftObjective:
    """Negative log-prob of every target token; a step is divided by its number of targets."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._targets = [sample.num_targets for sample in samples]

    def count(self, sample: int) -> int:
        """Targets of the sample."""
        return self._targets[sample]

    def loss(self, scores: Scores, samples: Sequence[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Sum over the targets of the micro-batch."""
        del samples  # every response in the pack counts alike
        return sft_loss(scores.logprobs), {}


class DpoObjective:
    """One loss a pair, from the scores of chosen and rejected under policy and reference.

    ``reference[i]`` is ``[scored tokens of sample i]``, chosen first; None for a loss without a reference.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        reference: Sequence[torch.Tensor] | None,
        options: DPOOptions,
        device: torch.device,
    ) -> None:
        self._options = options
        self._sums: torch.Tensor | None = None
        if reference is not None:
            # Summed as the policy's scores are, so that at the first step the ratio is 1 to the last bit.
            sums = [
                Scores(scores, torch.tensor(sample.response_lengths)).sums()
                for sample, scores in zip(samples, reference, strict=True)
            ]
            self._sums = torch.stack(sums).to(device)

    def count(self, sample: int) -> int:
        """A pair counts once."""
        del sample
        return 1

    def loss(self, scores: Scores, samples: Sequence[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Sum over the pairs of the micro-batch; sums of implicit rewards, margins and how often chosen leads."""
        chosen, rejected = scores.sums().view(-1, 2).unbind(1)
        chosen_lengths, rejected_lengths = scores.lengths.view(-1, 2).unbind(1)
        reference = None if self._sums is None else self._sums[list(samples)]
        result = dpo_loss(
            chosen,
            rejected,
            None if reference is None else reference[:, 0],
            None if reference is None else reference[:, 1],
            chosen_lengths=chosen_lengths,
            rejected_lengths=rejected_lengths,
            beta=float(self._options.beta),
            loss=self._options.loss,
        )
        margins = result.chosen_rewards - result.rejected_rewards
        return result.losses.sum(), {
            "rewardChosen": result.chosen_rewards.sum(),
            "rewardRejected": result.rejected_rewards.sum(),
            "rewardMargin": margins.sum(),
            "rewardAccuracy": (margins > 0).float().sum(),
            "logprobChosen": chosen.detach().sum(),
            "logprobRejected": rejected.detach().sum(),
        }
