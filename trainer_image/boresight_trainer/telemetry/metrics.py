"""The trainer's Prometheus metrics. Run, stage and namespace come from pod labels by relabelling, not from here."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric

REGISTRY = CollectorRegistry()


class Reading(Gauge):
    """A gauge that is exported from its first value on: a loss that nobody has computed yet is not 0."""

    _is_read = False

    def set(self, value: float) -> None:
        """Export ``value`` from now on."""
        super().set(value)
        self._is_read = True

    def collect(self) -> Iterable[Metric]:
        """Before there is a value its name and meaning, as of a counter whose labels nobody has used yet."""
        for family in super().collect():
            if not self._is_read:
                family.samples.clear()
            yield family


def _gauge(name: str, text: str) -> Reading:
    return Reading(f"boresight_{name}", text, registry=REGISTRY)


STEP = _gauge("train_step", "Optimizer steps completed")
TOTAL_STEPS = _gauge("train_steps", "Optimizer steps in all")
TOKENS = Counter("boresight_train_tokens", "Tokens trained on by this attempt", registry=REGISTRY)
ITEMS = Counter(
    "boresight_synthesis_items", "Items that this process has synthesised, by verdict", ["verdict"], registry=REGISTRY
)
EVALUATED = Counter("boresight_evaluation_items", "Evaluated items", ["suite", "outcome"], registry=REGISTRY)
STORE_RETRIES = Counter(
    "boresight_store_retries", "Requests to the store that failed and were made again", registry=REGISTRY
)
CHECKPOINT_SECONDS = _gauge("checkpoint_seconds", "Time the last checkpoint took")

GAUGES: dict[str, Reading] = {
    "loss": _gauge("train_loss", "Mean loss of the last logged step"),
    "learningRate": _gauge("train_learning_rate", "Learning rate of the last logged step"),
    "gradNorm": _gauge("train_grad_norm", "Global gradient norm before clipping"),
    "tokensPerSecond": _gauge("train_tokens_per_second", "Tokens a second since the last logged step"),
    "rewardMargin": _gauge("dpo_reward_margin", "Mean implicit reward of chosen minus rejected"),
    "rewardAccuracy": _gauge(
        "dpo_reward_accuracy", "Share of pairs whose chosen response has the larger implicit reward"
    ),
}
"""Name in ``metrics.jsonl`` -> gauge."""
