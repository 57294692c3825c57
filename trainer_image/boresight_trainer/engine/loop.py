"""The step loop: schedule, packs, accumulate, clip, step, log, checkpoint. It knows neither objective nor model.

The loss of a micro-batch is a sum divided by the step's global count, so gradients do not depend on how a step is cut
into micro-batches (beyond rounding), and an interrupted step can be dropped without a trace.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Training
from boresight_api.status import TRAIN

from ..data.packing import pack_step
from ..data.schedule import optimizer_steps, step_samples, steps_per_epoch
from ..models.batch import Sample, build_pack
from ..models.scorer import Scorer
from ..telemetry import metrics
from ..telemetry.progress import Progress
from ..telemetry.stop import StopFlag
from . import checkpoint
from .learning_rate import learning_rate
from .objective import Objective

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How training runs here. Operational: none of it changes results beyond rounding."""

    token_budget: int
    checkpoint_every_seconds: float = 600
    checkpoints_keep: int = 2


class Schedule:
    """Which samples form which micro-batch of which optimizer step: the semantic schedule, packed to a token budget."""

    def __init__(self, samples: Sequence[Sample], training: Training, seed: int, token_budget: int) -> None:
        self._ids = [sample.id for sample in samples]
        self._lengths = [sample.num_tokens for sample in samples]
        self._global_batch = training.global_batch
        self._seed = seed
        self._token_budget = token_budget
        self.total_steps = optimizer_steps(len(samples), training.epochs, training.global_batch)
        self.steps_per_epoch = steps_per_epoch(len(samples), training.global_batch)

    def micro_batches(self, step: int) -> tuple[tuple[int, ...], ...]:
        """Indices of the samples of each micro-batch of optimizer step ``step``, counted over all epochs."""
        epoch, within = divmod(step, self.steps_per_epoch)
        chosen = step_samples(self._ids, seed=self._seed, epoch=epoch, step=within, global_batch=self._global_batch)
        packs = pack_step([self._lengths[i] for i in chosen], token_budget=self._token_budget)[0]
        return tuple(tuple(chosen[i] for i in pack) for pack in packs)

    def first_epoch(self) -> tuple[tuple[int, ...], ...]:
        """The micro-batches of epoch 0, in order."""
        return tuple(pack for step in range(self.steps_per_epoch) for pack in self.micro_batches(step))


@dataclass
class Trainer:
    """Trains ``scorer`` on ``samples``. Resumes from the newest checkpoint in its folders."""

    scorer: Scorer
    samples: Sequence[Sample]
    objective: Objective
    training: Training
    seed: int
    limits: Limits
    progress: Progress
    stop: StopFlag
    checkpoint_folder: Path
    previous_checkpoints: Sequence[Path] = ()
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.device = next(self.scorer.parameters()).device
        self.parameters = [p for p in self.scorer.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=float(self.training.learning_rate),
            betas=(float(self.training.beta1), float(self.training.beta2)),
            weight_decay=float(self.training.weight_decay),
            fused=True,
        )
        self.schedule = Schedule(self.samples, self.training, self.seed, self.limits.token_budget)
        self.total_steps = self.schedule.total_steps
        self.digest = checkpoint.samples_digest([(sample.id, sample.num_tokens) for sample in self.samples])
        self.step = 0
        self.tokens = 0

    def train(self) -> None:
        """Run every remaining step.

        Raises :class:`StageFailure`: Preempted after a stop request (a checkpoint of the last completed step is on
        disk), Diverged on a loss or gradient that is not finite.
        """
        self._resume()
        self.progress.phase(TRAIN, self.total_steps, self.step)
        metrics.TOTAL_STEPS.set(self.total_steps)
        metrics.STEP.set(self.step)
        last_checkpoint = last_log = self.clock()
        tokens_logged = self.tokens
        while self.step < self.total_steps:
            rate = learning_rate(self.training, self.step, self.total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            micro_batches = self.schedule.micro_batches(self.step)
            sums = self._accumulate(micro_batches)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, float(self.training.max_grad_norm))
            values = {name: float(value) for name, value in sums.items()}
            self._stop_if_not_finite(values["loss"], float(norm), micro_batches)
            now = self.clock()
            speed = (self.tokens - tokens_logged) / max(now - last_log, 1e-9)
            last_log, tokens_logged = now, self.tokens
            values = {"learningRate": rate, "gradNorm": float(norm), "tokensPerSecond": round(speed, 1), **values}
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            epoch = self.step / self.schedule.steps_per_epoch
            self.progress.log({"step": self.step + 1, "epoch": round(epoch, 4), "tokens": self.tokens, **values})
            self.step += 1
            metrics.STEP.set(self.step)
            self.progress.advance(self.step, loss=values["loss"], tokensPerSecond=values["tokensPerSecond"])
            if self.clock() - last_checkpoint > self.limits.checkpoint_every_seconds and self.step < self.total_steps:
                self._checkpoint()
                last_checkpoint = self.clock()

    def _accumulate(self, micro_batches: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Forward and backward of one step. Sums of loss and metrics over the step, divided by its count."""
        count = sum(self.objective.count(i) for batch in micro_batches for i in batch)
        totals: dict[str, torch.Tensor] = {}
        started, tokens = self.clock(), 0
        for done, batch in enumerate(micro_batches):
            if self.stop.requested and not self._can_finish(done, len(micro_batches), started):
                self._preempt()
            pack = build_pack([self.samples[i] for i in batch], self.device)
            with self._autocast():
                loss, sums = self.objective.loss(self.scorer(pack), batch)
            torch.autograd.backward(loss / count)
            for name, value in {"loss": loss.detach(), **sums}.items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + value / count
            tokens += pack.num_tokens
        self.tokens += tokens
        metrics.TOKENS.inc(tokens)
        return totals

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def _can_finish(self, done: int, total: int, started: float) -> bool:
        """Whether the rest of the step fits in half of the grace period that is left; the other half is for saving."""
        if done == 0:
            return False
        per_batch = (self.clock() - started) / done
        return per_batch * (total - done) < self.stop.seconds_left() / 2

    def _preempt(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.step:  # before the first step there is nothing to keep
            self._checkpoint()
        message = (
            f"stopped on request after step {self.step} of {self.total_steps}; the next attempt goes on from there"
        )
        raise StageFailure(FailureClass.PREEMPTED, message, step=self.step)

    def _stop_if_not_finite(self, loss: float, norm: float, micro_batches: Sequence[Sequence[int]]) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        rows = [self.samples[i].id for batch in micro_batches for i in batch]
        shown = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        last = checkpoint.newest([self.checkpoint_folder, *self.previous_checkpoints])
        where = f"the last good checkpoint is {last.folder}" if last else "there is no checkpoint yet"
        raise StageFailure(
            FailureClass.DIVERGED,
            f"step {self.step + 1}: found loss {loss} and gradient norm {norm}, expected finite numbers; rows of the "
            f"step: {shown}; {where}. Lower training.learningRate or look at these rows",
            step=self.step,
        )

    def _checkpoint(self) -> None:
        started = self.clock()
        state = checkpoint.CheckpointState(self.step, self.digest, self.tokens, torch.get_num_threads())
        checkpoint.save(
            self.checkpoint_folder,
            state,
            self.scorer,
            self.optimizer,
            self.progress.metrics_path,
            keep=self.limits.checkpoints_keep,
        )
        metrics.CHECKPOINT_SECONDS.set(self.clock() - started)
        log.info("checkpoint of step %d saved in %.1f s", self.step, self.clock() - started)

    def _resume(self) -> None:
        found = self._restore()
        if found is None:
            return
        self.step, self.tokens = found.state.step, found.state.tokens
        logged = found.folder / "metrics.jsonl"
        if self.progress.metrics_path is not None and logged.exists():
            self.progress.metrics_path.write_bytes(logged.read_bytes())
        if found.state.threads != torch.get_num_threads():
            log.warning(
                "the checkpoint was made with %d threads, this process has %d: results agree up to rounding only",
                found.state.threads,
                torch.get_num_threads(),
            )
        log.info("resumed at step %d of %d from %s", self.step, self.total_steps, found.folder)

    def _restore(self) -> checkpoint.Checkpoint | None:
        """Load the newest checkpoint that can be read whole."""
        for found in checkpoint.found_in([self.checkpoint_folder, *self.previous_checkpoints]):
            try:
                checkpoint.restore(found, self.scorer, self.optimizer, samples_digest=self.digest)
            except checkpoint.DamagedCheckpoint as damage:
                log.warning("a damaged checkpoint is passed over: %s", damage)
                continue
            return found
        return None
