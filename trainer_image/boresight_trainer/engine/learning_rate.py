"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math

from boresight_api.enums import LearningRateSchedule
from boresight_api.stages import Training


def learning_rate(training: Training, step: int, total_steps: int) -> float:
    """Rate of optimizer step ``step`` (0-based) of ``total_steps``: linear warm-up, then the schedule, ending near 0.

    The first step already moves (rate > 0), and so does the last.
    """
    peak = float(training.learning_rate)
    warmup = math.ceil(total_steps * float(training.warmup_percent) / 100)
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (total_steps - step) / max(1, total_steps - warmup)
    match training.schedule:
        case LearningRateSchedule.CONSTANT:
            return peak
        case LearningRateSchedule.LINEAR:
            return peak * left
        case LearningRateSchedule.COSINE:
            return peak * 0.5 * (1 + math.cos(math.pi * (1 - left)))
