"""The tiled head against the log-softmax of full logits, and what it keeps in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from boresight_trainer.models.head import HeadMemory, target_logprobs
from torch import Tensor

TARGETS, HIDDEN, VOCABULARY = 37, 16, 1203

MEMORY = {
    "one tile": HeadMemory(tile=1 << 30, kept=0),
    "many tiles": HeadMemory(tile=4 * TARGETS * 300, kept=0),
    "many tiles, some kept": HeadMemory(tile=4 * TARGETS * 300, kept=4 * TARGETS * 700),
    "many tiles, all kept": HeadMemory(tile=4 * TARGETS * 300, kept=1 << 30),
}
TRAINED = {
    "everything": (True, True, True),
    "hidden states only, as with LoRA": (True, False, False),
    "weights only": (False, True, False),
    "bias only": (False, False, True),
}


def inputs(trained: tuple[bool, bool, bool] = (True, True, True), *, spread: float = 1.0) -> list[Tensor]:
    torch.manual_seed(2)
    tensors = [torch.randn(TARGETS, HIDDEN), torch.randn(VOCABULARY, HIDDEN) * spread, torch.randn(VOCABULARY)]
    return [tensor.requires_grad_(trains) for tensor, trains in zip(tensors, trained, strict=True)]


def targets() -> Tensor:
    """Random ones, the first and the last of the vocabulary, and one that occurs often."""
    ids = torch.randint(0, VOCABULARY, (TARGETS,), generator=torch.Generator().manual_seed(4))
    ids[:8] = torch.tensor([0, VOCABULARY - 1, 5, 5, 5, 5, 0, VOCABULARY - 1])
    return ids


def full(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = hidden.double() @ weight.double().t() + (0 if bias is None else bias.double())
    return logits.log_softmax(-1).gather(1, targets()[:, None])[:, 0]


def gradients(of: Callable[[], Tensor], tensors: list[Tensor]) -> list[Tensor]:
    loss = (of() * torch.linspace(-1, 2, TARGETS)).sum()
    return list(torch.autograd.grad(loss, [tensor for tensor in tensors if tensor.requires_grad]))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("memory", MEMORY)
def test_values_and_gradients_equal_full_logits(memory: str, trained: str, biased: bool) -> None:
    hidden, weight, bias = inputs(TRAINED[trained])
    tensors = [hidden, weight, bias] if biased else [hidden, weight]
    if not any(tensor.requires_grad for tensor in tensors):
        return
    bias_or_none = bias if biased else None
    found = target_logprobs(hidden, weight, bias_or_none, targets(), MEMORY[memory])
    expected = full(hidden, weight, bias_or_none)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-5)
    mine = gradients(lambda: target_logprobs(hidden, weight, bias_or_none, targets(), MEMORY[memory]), tensors)
    for gradient, exact in zip(mine, gradients(lambda: full(hidden, weight, bias_or_none), tensors), strict=True):
        assert exact.norm() > 0
        assert (gradient - exact).norm() / exact.norm() <= 1e-5


@pytest.mark.parametrize("trained", ["everything", "hidden states only, as with LoRA"])
def test_huge_logits_do_not_overflow(trained: str) -> None:
    hidden, weight, _ = inputs(TRAINED[trained], spread=1000.0)
    found = target_logprobs(hidden, weight, None, targets(), MEMORY["many tiles, some kept"])
    torch.testing.assert_close(found.double(), full(hidden, weight, None), atol=1e-2, rtol=1e-5)
    assert torch.isfinite(torch.autograd.grad(found.sum(), hidden)[0]).all()


def test_without_gradients_nothing_is_kept() -> None:
    hidden, weight, _ = inputs((False, False, False))
    found = target_logprobs(hidden, weight, None, targets(), MEMORY["many tiles, all kept"])
    assert found.grad_fn is None
    torch.testing.assert_close(found.double(), full(hidden, weight, None), atol=2e-5, rtol=1e-5)


def test_half_precision_sums_in_single_precision() -> None:
    hidden, weight, _ = (tensor.detach().bfloat16() for tensor in inputs())
    found = target_logprobs(hidden, weight, None, targets(), MEMORY["many tiles"])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), full(hidden, weight, None), atol=5e-2, rtol=0)


def test_no_targets_give_no_scores_and_zero_gradients() -> None:
    _, weight, bias = inputs()
    hidden = torch.zeros(0, HIDDEN, requires_grad=True)
    found = target_logprobs(hidden, weight, bias, torch.zeros(0, dtype=torch.int64))
    found.sum().backward()
    assert found.shape == (0,)
    assert weight.grad is not None
    assert not weight.grad.any()


PEAK = """
import resource, sys, torch
from boresight_trainer.models.head import HeadMemory, target_logprobs
torch.set_num_threads(1)
targets, vocabulary, hidden_size = 1536, 30_000, 4  # full logits: 176 MiB
hidden = torch.randn(targets, hidden_size, requires_grad=True)
weight = torch.randn(vocabulary, hidden_size, requires_grad=sys.argv[1] == "trained")
ids = torch.randint(0, vocabulary, (targets,))
target_logprobs(hidden[:8], weight, None, ids[:8]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
target_logprobs(hidden, weight, None, ids, HeadMemory(tile=8 << 20, kept=32 << 20)).sum().backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("weights", ["trained", "frozen"])
def test_the_logits_of_all_targets_never_exist(weights: str) -> None:
    """Peak resident memory of a process of its own; full logits alone would take 176 MiB."""
    done = subprocess.run([sys.executable, "-c", PEAK, weights], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 + 8 * 8
