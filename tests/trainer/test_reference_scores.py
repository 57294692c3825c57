"""Reference scores: exact at the first step, computed once, shared, and never half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from boresight_api.enums import Tuning
from boresight_api.outcome import StageFailure
from boresight_api.stages import DPOOptions
from boresight_trainer.engine.loop import Schedule
from boresight_trainer.engine.lora import prepare_parameters
from boresight_trainer.engine.objective import DpoObjective
from boresight_trainer.engine.reference import ReferenceCache, reference_scores, sample_hash
from boresight_trainer.models.batch import Sample, build_pack
from boresight_trainer.models.scorer import Scorer
from boresight_trainer.telemetry.progress import Progress
from boresight_trainer.telemetry.stop import StopFlag
from builders_training import VOCABULARY, a_llama, a_training

CPU = torch.device("cpu")


def some_pairs(number: int, seed: int = 3) -> list[Sample]:
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, VOCABULARY, int(rng.integers(low, high))).tolist()

    return [Sample.of_pair(f"pair-{i}", tokens(4, 12), tokens(2, 9), tokens(2, 9)) for i in range(number)]


def a_scorer(tuning: Tuning = Tuning.LORA) -> Scorer:
    return Scorer(prepare_parameters(a_llama(), a_training(tuning=tuning), seed=5))


def compute(
    scorer: Scorer, pairs: list[Sample], cache: ReferenceCache, stop: StopFlag | None = None
) -> tuple[list[torch.Tensor], int]:
    packs = Schedule(pairs, a_training(), 7, 60).first_epoch()
    return reference_scores(scorer, pairs, packs, cache, Progress(stage="t", key=None), stop or StopFlag(1))


@pytest.mark.parametrize("tuning", list(Tuning))
def test_at_the_first_step_the_ratio_is_exactly_one(tmp_path: Path, tuning: Tuning) -> None:
    scorer, pairs = a_scorer(tuning), some_pairs(11)
    reference, _ = compute(scorer, pairs, ReferenceCache(tmp_path, {"model": "m"}))
    for pack in Schedule(pairs, a_training(), 7, 60).first_epoch():
        scores = scorer(build_pack([pairs[i] for i in pack], CPU))
        assert torch.equal(scores.logprobs.detach(), torch.cat([reference[i] for i in pack]))


def test_the_first_loss_of_dpo_is_log_two(tmp_path: Path) -> None:
    scorer, pairs = a_scorer(), some_pairs(6)
    reference, _ = compute(scorer, pairs, ReferenceCache(tmp_path, {"model": "m"}))
    objective = DpoObjective(pairs, reference, DPOOptions(), CPU)
    loss, metrics = objective.loss(scorer(build_pack(pairs, CPU)), range(6))
    assert float(loss.detach()) == pytest.approx(6 * np.log(2), abs=1e-6)
    assert float(metrics["rewardMargin"]) == pytest.approx(0, abs=1e-4)


def test_at_the_first_step_every_margin_is_zero_to_the_last_bit(tmp_path: Path) -> None:
    scorer, pairs = a_scorer(), some_pairs(11)
    reference, _ = compute(scorer, pairs, ReferenceCache(tmp_path, {"model": "m"}))
    objective = DpoObjective(pairs, reference, DPOOptions(), CPU)
    for pack in Schedule(pairs, a_training(), 7, 60).first_epoch():
        _, metrics = objective.loss(scorer(build_pack([pairs[i] for i in pack], CPU)), pack)
        assert float(metrics["rewardMargin"]) == 0.0


def test_a_torn_file_of_the_cache_is_computed_again(tmp_path: Path) -> None:
    pairs = some_pairs(5)
    compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"")
    assert compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))[1] == 5
    assert compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))[1] == 0


def test_scores_are_computed_once_and_found_again_by_a_sweep(tmp_path: Path) -> None:
    pairs = some_pairs(11)
    first, computed = compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))
    again, recomputed = compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))
    assert (computed, recomputed) == (11, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_model_or_other_tokens_share_nothing(tmp_path: Path) -> None:
    pairs = some_pairs(5)
    compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "m"}))
    assert compute(a_scorer(), pairs, ReferenceCache(tmp_path, {"model": "other"}))[1] == 5
    assert compute(a_scorer(), some_pairs(5, seed=4), ReferenceCache(tmp_path, {"model": "m"}))[1] == 5


def test_what_was_scored_before_a_stop_is_kept(tmp_path: Path) -> None:
    class StopAfter(StopFlag):
        looks = 0

        def check(self, step: int | None = None) -> None:
            self.looks += 1
            if self.looks > 2:
                self.request()
            super().check(step)

    pairs, cache = some_pairs(11), ReferenceCache(tmp_path, {"model": "m"})
    with pytest.raises(StageFailure):
        compute(a_scorer(), pairs, cache, StopAfter(1))
    _, left = compute(a_scorer(), pairs, cache)
    assert 0 < left < 11


def test_the_hash_tells_tokens_structure_and_scored_spans_apart() -> None:
    base = Sample.of_pair("a", [1, 2, 3], [4, 5], [6, 7])
    same = Sample.of_pair("another id", [1, 2, 3], [4, 5], [6, 7])
    others = [
        Sample.of_pair("a", [1, 2], [3, 4, 5], [6, 7]),
        Sample.of_pair("a", [1, 2, 3], [6, 7], [4, 5]),
        Sample.of_pair("a", [1, 2, 3], [4, 5], [6, 7], share=False),
        Sample.of_response("a", [1, 2, 3], [4, 5, 6, 7]),
    ]
    assert sample_hash(base) == sample_hash(same)
    assert len({sample_hash(sample) for sample in [base, *others]}) == 5
