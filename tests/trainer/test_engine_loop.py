"""The step loop: exact resume, independence of the token budget, stopping, and what it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from boresight_api.enums import LoRALayers, Tuning
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import LoRA
from boresight_trainer.engine import checkpoint
from boresight_trainer.engine.loop import Schedule, Trainer
from boresight_trainer.engine.lora import prepare_parameters
from boresight_trainer.telemetry import metrics
from boresight_trainer.telemetry.metrics import REGISTRY
from boresight_trainer.telemetry.stop import StopFlag
from builders_training import a_llama, a_trainer, a_training, some_samples


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.scorer.named_parameters() if p.requires_grad}


def logged(folder: Path, attempt: int = 1) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / f"output-{attempt}" / "metrics.jsonl").read_text().splitlines()]


class StopAt(StopFlag):
    """Requests a stop when it has been looked at ``looks`` times: at a random micro-batch of a random step."""

    def __init__(self, looks: int, grace: float = 0.0) -> None:
        super().__init__(grace)
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        if self.looks < 0:
            self.request()
        return super().requested


@pytest.mark.parametrize("tuning", list(Tuning))
@pytest.mark.parametrize("seed", range(3))
def test_a_run_stopped_anywhere_and_resumed_ends_with_the_same_bits(tmp_path: Path, tuning: Tuning, seed: int) -> None:
    training = a_training(tuning=tuning)
    whole = a_trainer(tmp_path / "whole", training=training)
    whole.train()
    attempt, rng = 1, random.Random(seed)
    while True:
        trainer = a_trainer(
            tmp_path / "pieces",
            training=training,
            attempt=attempt,
            stop=StopAt(rng.randint(1, 14)) if attempt < 4 else None,
        )
        try:
            trainer.train()
            break
        except StageFailure as failure:
            assert failure.failure is FailureClass.PREEMPTED
            attempt += 1
    assert attempt > 1, "the stop never came"
    for name, expected in weights(whole).items():
        assert torch.equal(weights(trainer)[name], expected), name
    steps = [record["step"] for record in logged(tmp_path / "pieces", attempt)]
    assert steps == list(range(1, trainer.total_steps + 1)), "lines are missing or doubled after a resume"
    losses = [record["loss"] for record in logged(tmp_path / "pieces", attempt)]
    assert losses == [record["loss"] for record in logged(tmp_path / "whole")]
    assert trainer.tokens == whole.tokens


@pytest.mark.parametrize("looks", [3, 8, 14])
def test_a_run_killed_without_warning_goes_on_from_its_last_checkpoint_to_the_same_bits(
    tmp_path: Path, looks: int
) -> None:
    class Killed(BaseException):
        """Nothing in the trainer can catch it."""

    class KillAt(StopAt):
        def request(self) -> None:
            raise Killed

    whole = a_trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Killed):
        a_trainer(tmp_path / "killed", checkpoint_every_seconds=-1, stop=KillAt(looks)).train()
    resumed = a_trainer(tmp_path / "killed", attempt=2)
    resumed.train()
    for name, expected in weights(whole).items():
        assert torch.equal(weights(resumed)[name], expected), name
    assert [record["step"] for record in logged(tmp_path / "killed", 2)] == list(range(1, whole.total_steps + 1))


def test_a_resumed_run_shows_its_step_before_it_takes_the_next(tmp_path: Path) -> None:
    with pytest.raises(StageFailure) as first:
        a_trainer(tmp_path, stop=StopAt(8)).train()
    metrics.STEP.set(0)
    resumed = a_trainer(tmp_path, attempt=2, stop=StopAt(0))
    with pytest.raises(StageFailure):
        resumed.train()
    assert first.value.step
    assert REGISTRY.get_sample_value("boresight_train_step") == first.value.step
    assert (resumed.progress.document["phase"], resumed.progress.document["step"]) == ("train", first.value.step)


def test_training_learns(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, training=a_training(epochs=12, tuning=Tuning.FULL))
    trainer.train()
    losses = [record["loss"] for record in logged(tmp_path)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("budget", [35, 70, 4096])
def test_the_token_budget_changes_results_by_rounding_only(tmp_path: Path, budget: int) -> None:
    # Plain gradients before clipping, not weights: AdamW hides a constant factor.
    def first_gradients(token_budget: int) -> dict[str, torch.Tensor]:
        trainer = a_trainer(
            tmp_path / str(token_budget), training=a_training(tuning=Tuning.FULL), token_budget=token_budget
        )
        trainer._accumulate(trainer.schedule.micro_batches(0))
        return {name: p.grad for name, p in trainer.scorer.named_parameters() if p.grad is not None}

    reference = first_gradients(120)
    assert len(reference) > 20
    for name, gradient in first_gradients(budget).items():
        norm = reference[name].norm()
        assert norm > 0, name
        assert (gradient - reference[name]).norm() <= 1e-4 * norm, name


def test_half_the_token_budget_gives_every_step_the_same_samples() -> None:
    samples, training = some_samples(50), a_training()
    whole, half = (Schedule(samples, training, 7, budget) for budget in (200, 100))
    assert whole.total_steps == half.total_steps == 21
    for step in range(whole.total_steps):
        assert sorted(i for pack in whole.micro_batches(step) for i in pack) == sorted(
            i for pack in half.micro_batches(step) for i in pack
        )
    assert len(half.first_epoch()) > len(whole.first_epoch())


def test_a_run_resumed_with_half_the_token_budget_goes_on_with_the_same_steps(tmp_path: Path) -> None:
    whole = a_trainer(tmp_path / "whole", token_budget=200)
    whole.train()
    with pytest.raises(StageFailure):
        a_trainer(tmp_path / "pieces", token_budget=200, stop=StopAt(5)).train()
    resumed = a_trainer(tmp_path / "pieces", token_budget=100, attempt=2)
    resumed.train()
    assert resumed.tokens == whole.tokens
    for name, expected in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], expected, rtol=1e-3, atol=1e-5)


def test_a_step_that_fits_the_grace_period_is_finished(tmp_path: Path) -> None:
    patient = a_trainer(tmp_path / "patient", stop=StopAt(1, grace=1e6))
    hasty = a_trainer(tmp_path / "hasty", stop=StopAt(1, grace=0.0))
    for trainer, completed in ((patient, 1), (hasty, 0)):
        assert len(trainer.schedule.micro_batches(0)) > 1
        with pytest.raises(StageFailure) as caught:
            trainer.train()
        assert (caught.value.failure, caught.value.step) == (FailureClass.PREEMPTED, completed)


def test_a_run_stopped_before_its_first_step_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(StageFailure) as caught:
        a_trainer(tmp_path, stop=StopAt(0)).train()
    assert caught.value.step == 0
    resumed, whole = a_trainer(tmp_path, attempt=2), a_trainer(tmp_path / "whole")
    resumed.train()
    whole.train()
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


@pytest.mark.parametrize("torn", ["state.json", "parameters.safetensors", "optimizer.safetensors"])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before_it(tmp_path: Path, torn: str) -> None:
    first = a_trainer(tmp_path, checkpoint_every_seconds=-1)
    first.train()
    (first.checkpoint_folder / "step-00000008" / torn).write_bytes(b"")
    resumed = a_trainer(tmp_path, attempt=2)
    resumed.train()
    assert [record["step"] for record in logged(tmp_path, 2)] == list(range(1, 10))
    assert all(torch.equal(value, weights(first)[name]) for name, value in weights(resumed).items())


def test_a_checkpoint_that_finds_no_room_says_so(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, checkpoint_every_seconds=-1)
    trainer.checkpoint_folder.parent.mkdir(parents=True)
    trainer.checkpoint_folder.write_text("a file where the folder should be")
    with pytest.raises(StageFailure, match="could not write a checkpoint") as caught:
        trainer.train()
    assert caught.value.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize("tuning", list(Tuning))
def test_what_trains_is_fp32_whatever_the_model_was_loaded_in(tuning: Tuning) -> None:
    model = prepare_parameters(a_llama().to(torch.bfloat16), a_training(tuning=tuning), seed=1)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained
    assert {p.dtype for p in trained} == {torch.float32}
    frozen = {p.dtype for p in model.parameters() if not p.requires_grad}
    assert frozen == (set() if tuning is Tuning.FULL else {torch.bfloat16})


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path)
    before = weights(trainer)
    with torch.no_grad():
        trainer.scorer.model.get_input_embeddings().weight[3] = float("nan")
    with pytest.raises(StageFailure, match=r"step 1: found loss nan .*row-\d+.*no checkpoint yet") as caught:
        trainer.train()
    assert caught.value.failure is FailureClass.DIVERGED
    assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())


def test_only_the_newest_checkpoints_stay_and_half_written_ones_do_not_count(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, checkpoint_every_seconds=-1)
    trainer.train()
    assert [p.name for p in sorted(trainer.checkpoint_folder.iterdir())] == ["step-00000007", "step-00000008"]
    (trainer.checkpoint_folder / "step-00000009").mkdir()
    (trainer.checkpoint_folder / ".step-00000010.tmp").mkdir()
    found = checkpoint.newest([trainer.checkpoint_folder])
    assert found is not None
    assert found.state.step == 8


def test_a_checkpoint_of_other_samples_is_refused(tmp_path: Path) -> None:
    a_trainer(tmp_path, checkpoint_every_seconds=-1).train()
    other = a_trainer(tmp_path, samples=some_samples(21, seed=2), attempt=2)
    with pytest.raises(StageFailure, match="made from other samples"):
        other.train()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(LoRALayers.ALL, {0, 1, 2}), (LoRALayers.UPPER_THIRD, {2}), (LoRALayers.UPPER_HALF, {1, 2})],
)
def test_adapters_sit_on_the_chosen_layers_only(tmp_path: Path, layers: LoRALayers, expected: set[int]) -> None:
    trainer = a_trainer(tmp_path, training=a_training(lora=LoRA(rank=4, alpha=8, layers=layers)))
    names = [name for name, p in trainer.scorer.named_parameters() if p.requires_grad]
    assert {int(name.split("layers.")[1].split(".")[0]) for name in names} == expected
    assert all("lora_" in name for name in names)
    assert len(names) == len(expected) * 7 * 2
