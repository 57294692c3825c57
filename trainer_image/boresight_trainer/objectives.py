"""Objectives as pure functions of scores. Each exists once; none knows a modality, a model or a trainer.

Losses are returned per sample or as sums, never as means: the step divides by its global count, which the schedule
knows beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from boresight_api.enums import DPOLoss
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class PreferenceLoss:
    """Loss and implicit rewards of each pair, ``[P]`` FP32 each. Rewards carry no gradient."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def sft_loss(logprobs: Tensor) -> Tensor:
    """Negative log-likelihood summed over targets; ``logprobs`` is ``[N]``. Divide by the step's target count."""
    return -logprobs.sum()


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor | None,
    reference_rejected: Tensor | None,
    *,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float,
    loss: DPOLoss = DPOLoss.SIGMOID,
    label_noise: float = 0.1,
    target_margin: float = 0.5,
    rpo_alpha: float = 1.0,
) -> PreferenceLoss:
    """Preference loss of each pair, from summed log-probabilities ``[P]`` and target counts ``[P]``.

    With h the difference of the log-ratios log pi/ref of chosen and rejected:

    - Sigmoid: ``-log sigmoid(beta h)`` (DPO, arXiv 2305.18290, eq. 7).
    - IPO: ``(h - 1 / (2 beta))^2`` with log-ratios per token (arXiv 2310.12036, eq. 17; per token as in TRL).
    - Hinge: ``max(0, 1 - beta h)`` (SLiC-HF, arXiv 2305.10425, calibrated by the reference).
    - Robust: Sigmoid corrected for a share ``label_noise`` of swapped pairs (arXiv 2403.00409, eq. 12).
    - SimPO: ``-log sigmoid(beta (difference of means) - target_margin)``, no reference (arXiv 2405.14734, eq. 6).
    - RPO: Sigmoid plus ``rpo_alpha`` times the chosen response's NLL per token (arXiv 2404.19733, eq. 1).

    Raises ``ValueError`` if reference scores are missing for a loss that needs them, or given to SimPO.
    """
    if loss is DPOLoss.SIMPO:
        if reference_chosen is not None or reference_rejected is not None:
            raise ValueError("SimPO has no reference: pass None for reference_chosen and reference_rejected")
        chosen_rewards = beta * policy_chosen / chosen_lengths
        rejected_rewards = beta * policy_rejected / rejected_lengths
        losses = -functional.logsigmoid(chosen_rewards - rejected_rewards - target_margin)
        return PreferenceLoss(losses, chosen_rewards.detach(), rejected_rewards.detach())
    if reference_chosen is None or reference_rejected is None:
        raise ValueError(f"{loss.value} needs reference_chosen and reference_rejected, found None")
    chosen_ratio = policy_chosen - reference_chosen
    rejected_ratio = policy_rejected - reference_rejected
    difference = chosen_ratio - rejected_ratio
    match loss:
        case DPOLoss.SIGMOID:
            losses = -functional.logsigmoid(beta * difference)
        case DPOLoss.IPO:
            per_token = chosen_ratio / chosen_lengths - rejected_ratio / rejected_lengths
            losses = (per_token - 1 / (2 * beta)) ** 2
        case DPOLoss.HINGE:
            losses = functional.relu(1 - beta * difference)
        case DPOLoss.ROBUST:
            right = -functional.logsigmoid(beta * difference)
            swapped = -functional.logsigmoid(-beta * difference)
            losses = ((1 - label_noise) * right - label_noise * swapped) / (1 - 2 * label_noise)
        case DPOLoss.RPO:
            losses = -functional.logsigmoid(beta * difference) - rpo_alpha * policy_chosen / chosen_lengths
        case _:
            raise ValueError(f"loss: found {loss}, which has no formula here")
    return PreferenceLoss(losses, (beta * chosen_ratio).detach(), (beta * rejected_ratio).detach())


def bradley_terry_loss(chosen_rewards: Tensor, rejected_rewards: Tensor, *, center: float = 0.0) -> Tensor:
    """``-log sigmoid(chosen - rejected)`` of each pair, ``[P]`` (reward models, arXiv 2203.02155, eq. 1).

    ``center`` adds ``center * (chosen + rejected)^2``, which keeps rewards around zero (arXiv 2312.09244).
    """
    losses = -functional.logsigmoid(chosen_rewards - rejected_rewards)
    return losses + center * torch.square(chosen_rewards + rejected_rewards) if center else losses
