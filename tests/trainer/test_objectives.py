"""Losses against their formulas and against TRL's own trainers on the same pairs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from boresight_api.enums import DPOLoss
from boresight_trainer.models.attention import PACKED
from boresight_trainer.models.batch import Sample, build_pack
from boresight_trainer.models.scorer import Scorer
from boresight_trainer.objectives import PreferenceLoss, bradley_terry_loss, dpo_loss, sft_loss
from builders_scoring import FAMILIES, some_ids
from torch import Tensor

BETA = 0.3
LENGTHS = [(4, 9), (7, 2), (5, 5)]
"""Chosen and rejected target counts of each pair."""
SUMS = [(-6.0, -14.5, -5.0, -15.0), (-12.0, -3.0, -11.0, -4.5), (-8.0, -8.5, -8.0, -8.5)]
"""Chosen and rejected under the policy, chosen and rejected under the reference."""


def loss_of(kind: DPOLoss, *, reference: bool = True, **options: float) -> PreferenceLoss:
    columns = [torch.tensor(column) for column in zip(*SUMS, strict=True)]
    chosen_lengths, rejected_lengths = (torch.tensor(column) for column in zip(*LENGTHS, strict=True))
    return dpo_loss(
        columns[0],
        columns[1],
        columns[2] if reference else None,
        columns[3] if reference else None,
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
        beta=BETA,
        loss=kind,
        **options,
    )


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def difference(row: int) -> float:
    chosen, rejected, reference_chosen, reference_rejected = SUMS[row]
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def per_token_difference(row: int) -> float:
    chosen, rejected, reference_chosen, reference_rejected = SUMS[row]
    return (chosen - reference_chosen) / LENGTHS[row][0] - (rejected - reference_rejected) / LENGTHS[row][1]


def mean_difference(row: int) -> float:
    return SUMS[row][0] / LENGTHS[row][0] - SUMS[row][1] / LENGTHS[row][1]


FORMULAS: dict[DPOLoss, Callable[[int], float]] = {
    DPOLoss.SIGMOID: lambda i: -log_sigmoid(BETA * difference(i)),
    DPOLoss.IPO: lambda i: (per_token_difference(i) - 1 / (2 * BETA)) ** 2,
    DPOLoss.HINGE: lambda i: max(0.0, 1 - BETA * difference(i)),
    DPOLoss.ROBUST: lambda i: (
        (-(1 - 0.1) * log_sigmoid(BETA * difference(i)) + 0.1 * log_sigmoid(-BETA * difference(i))) / (1 - 2 * 0.1)
    ),
    DPOLoss.SIMPO: lambda i: -log_sigmoid(BETA * mean_difference(i) - 0.5),
    DPOLoss.RPO: lambda i: -log_sigmoid(BETA * difference(i)) - SUMS[i][0] / LENGTHS[i][0],
}


def test_every_loss_of_the_contract_has_a_formula() -> None:
    assert set(FORMULAS) == set(DPOLoss)


@pytest.mark.parametrize("kind", DPOLoss)
def test_losses_follow_their_formulas(kind: DPOLoss) -> None:
    found = loss_of(kind, reference=kind is not DPOLoss.SIMPO)
    assert found.losses.tolist() == pytest.approx([FORMULAS[kind](row) for row in range(3)], rel=1e-5)


@pytest.mark.parametrize("kind", DPOLoss)
def test_losses_are_not_symmetric(kind: DPOLoss) -> None:
    """Swapping chosen and rejected must change the loss, or training could not tell them apart."""
    chosen, rejected = torch.tensor([-5.0]), torch.tensor([-9.0])
    reference = None if kind is DPOLoss.SIMPO else torch.tensor([-7.0])
    lengths = torch.tensor([6])
    options: dict[str, Any] = {"chosen_lengths": lengths, "rejected_lengths": lengths, "beta": BETA, "loss": kind}
    right = dpo_loss(chosen, rejected, reference, reference, **options).losses
    swapped = dpo_loss(rejected, chosen, reference, reference, **options).losses
    assert right < swapped


def test_rewards_are_the_scaled_log_ratios_without_gradient() -> None:
    policy = torch.tensor([-5.0], requires_grad=True)
    lengths = torch.tensor([3])
    found = dpo_loss(
        policy,
        policy * 2,
        torch.tensor([-7.0]),
        torch.tensor([-8.0]),
        chosen_lengths=lengths,
        rejected_lengths=lengths,
        beta=0.5,
    )
    assert (found.chosen_rewards.item(), found.rejected_rewards.item()) == (1.0, -1.0)
    assert found.losses.requires_grad
    assert not found.chosen_rewards.requires_grad
    assert not found.rejected_rewards.requires_grad


def test_at_the_reference_the_sigmoid_loss_is_log_two() -> None:
    same = torch.tensor([-3.0, -40.0])
    lengths = torch.tensor([2, 9])
    found = dpo_loss(same, same, same, same, chosen_lengths=lengths, rejected_lengths=lengths, beta=0.1)
    assert found.losses.tolist() == pytest.approx([math.log(2)] * 2)


def test_extreme_margins_stay_finite() -> None:
    far = torch.tensor([-1e4], requires_grad=True)
    zero, lengths = torch.tensor([0.0]), torch.tensor([5])
    loss = dpo_loss(far, zero, zero, zero, chosen_lengths=lengths, rejected_lengths=lengths, beta=1.0).losses
    loss.sum().backward()
    assert loss.item() == pytest.approx(1e4)
    assert far.grad is not None
    assert far.grad.item() == pytest.approx(-1)


def test_a_missing_reference_is_an_error_and_so_is_one_too_many() -> None:
    with pytest.raises(ValueError, match="IPO needs reference_chosen and reference_rejected"):
        loss_of(DPOLoss.IPO, reference=False)
    with pytest.raises(ValueError, match="SimPO has no reference"):
        loss_of(DPOLoss.SIMPO)


def test_bradley_terry() -> None:
    chosen, rejected = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0])
    plain = [-log_sigmoid(0.5), -log_sigmoid(-3.0)]
    assert bradley_terry_loss(chosen, rejected).tolist() == pytest.approx(plain)
    centred = bradley_terry_loss(chosen, rejected, center=0.01)
    assert centred.tolist() == pytest.approx([plain[0] + 0.01 * 1.5**2, plain[1] + 0.01 * 1.0])


def test_sft_loss_is_the_sum_over_targets() -> None:
    assert sft_loss(torch.tensor([-1.0, -2.5])).item() == 3.5


# against TRL ----------------------------------------------------------------------------------------------------------

PAIRS = [(some_ids(9, 70), some_ids(6, 71), some_ids(11, 72)), (some_ids(4, 73), some_ids(13, 74), some_ids(3, 75))]
TRL_NAMES = {DPOLoss.SIGMOID: "sigmoid", DPOLoss.IPO: "ipo", DPOLoss.HINGE: "hinge", DPOLoss.ROBUST: "robust"}


def a_tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>")


def policy_and_reference() -> tuple[Any, Any]:
    policy = FAMILIES["llama, grouped heads"](pad_token_id=None)
    reference = copy.deepcopy(policy)
    torch.manual_seed(9)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return policy, reference


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": len(PAIRS),
        "max_length": None,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": [],
    }


@pytest.fixture(scope="module")
def trl_dpo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Tokenized(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    policy, reference = policy_and_reference()
    for model in (policy, reference):
        model.set_attn_implementation("sdpa")
    return Tokenized(
        model=policy,
        ref_model=reference,
        args=DPOConfig(beta=BETA, label_smoothing=0.1, loss_type="robust", **settings(tmp_path_factory.mktemp("dpo"))),
        train_dataset=Dataset.from_dict(
            dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), map(list, zip(*PAIRS, strict=True)), strict=True))
        ),
        processing_class=a_tokenizer(),
    )


def trl_loss_and_norm(trainer: Any) -> tuple[float, float]:
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(next(iter(trainer.get_train_dataloader()))))
    loss.backward()
    return loss.item(), norm_of(trainer.model)


def norm_of(model: torch.nn.Module) -> float:
    return torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()


@pytest.mark.parametrize("kind", TRL_NAMES)
def test_losses_and_gradients_equal_trl(kind: DPOLoss, trl_dpo: Any) -> None:
    trl_dpo.loss_types, trl_dpo.loss_weights = [TRL_NAMES[kind]], [1.0]
    policy, reference = policy_and_reference()
    pack = build_pack([Sample.of_pair(str(i), *pair) for i, pair in enumerate(PAIRS)])
    with torch.no_grad():
        reference_sums = Scorer(reference)(pack).sums()
    arguments: list[Tensor] = [*pairwise(Scorer(policy)(pack).sums()), *pairwise(reference_sums)]
    chosen_lengths, rejected_lengths = pairwise(pack.lengths)
    loss = dpo_loss(
        *arguments, chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths, beta=BETA, loss=kind
    ).losses.mean()
    loss.backward()
    assert (loss.item(), norm_of(policy)) == pytest.approx(trl_loss_and_norm(trl_dpo), rel=1e-4)
    assert policy.config._attn_implementation == PACKED


def pairwise(values: Tensor) -> tuple[Tensor, ...]:
    return values.view(-1, 2).unbind(1)


def test_sft_loss_and_gradient_equal_trl(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [(prompt, chosen) for prompt, chosen, _ in PAIRS]
    plain = FAMILIES["llama, grouped heads"](pad_token_id=None, attn_implementation="sdpa")
    trainer = SFTTrainer(
        model=plain,
        args=SFTConfig(completion_only_loss=True, **settings(tmp_path)),
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [prompt + response for prompt, response in rows],
                "completion_mask": [[0] * len(prompt) + [1] * len(response) for prompt, response in rows],
            }
        ),
        processing_class=a_tokenizer(),
    )
    packed = FAMILIES["llama, grouped heads"]()
    pack = build_pack([Sample.of_response(str(i), *row) for i, row in enumerate(rows)])
    loss = sft_loss(Scorer(packed)(pack).logprobs) / pack.num_targets
    loss.backward()
    assert (loss.item(), norm_of(packed)) == pytest.approx(trl_loss_and_norm(trainer), rel=1e-4)
