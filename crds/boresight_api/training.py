"""What a manifest may say about optimisation, generation, objectives and suites; defaults are in ``recipe.py``."""

from __future__ import annotations

from pydantic import model_validator

from .base import (
    Contract,
    Fraction,
    NonNegative,
    Percent,
    Positive,
    ShortText,
    SuiteLabel,
    operational,
    rules,
    semantic,
)
from .compute import StageCompute
from .enums import (
    Acceptance,
    DPOLoss,
    Engine,
    ExportForm,
    FilterAction,
    LearningRateSchedule,
    LoRALayers,
    Precision,
    RefineFrom,
    SuiteName,
    Tuning,
)
from .sources import DataSource, HoldoutSplitSpec, JudgeSource, ModelSource


class LoRASpec(Contract):
    """Low-rank adapters (arXiv 2106.09685) on all linear layers of the chosen decoder layers."""

    rank: int | None = semantic(None, ge=1, le=1024)
    """Rank r. Default 16."""
    alpha: int | None = semantic(None, ge=1, le=4096)
    """The update is scaled by alpha / r. Default 32."""
    layers: LoRALayers | None = semantic(None)
    """Which decoder layers. Fewer at the top make the backward pass shorter. Default All."""


class TrainingSpec(Contract):
    """Optimisation of one stage (AdamW, arXiv 1711.05101)."""

    model_config = rules(
        ("!has(self.lora) || !has(self.tuning) || self.tuning == 'LoRA'", "lora goes with tuning LoRA"),
    )

    epochs: int | None = semantic(None, ge=1, le=1000)
    """Passes over the data."""
    learning_rate: Fraction | None = semantic(None)
    """Peak learning rate, such as "2e-5" (with quotes). The default follows from the stage and from ``tuning``."""
    schedule: LearningRateSchedule | None = semantic(None)
    """Shape after warm-up. Default Cosine."""
    warmup_percent: Percent | None = semantic(None)
    """Share of the steps in which the rate rises. Default 3."""
    global_batch: int | None = semantic(None, ge=1, le=1_000_000)
    """Samples (or pairs) per optimizer step, over all devices. Default 64."""
    weight_decay: Fraction | None = semantic(None)
    """Decoupled weight decay. Default 0."""
    beta1: Fraction | None = semantic(None)
    """AdamW beta1. Default 0.9."""
    beta2: Fraction | None = semantic(None)
    """AdamW beta2. Default 0.95."""
    max_grad_norm: Positive | None = semantic(None)
    """Gradients are scaled down to this global norm. Default 1."""
    tuning: Tuning | None = semantic(None)
    """LoRA or Full. Default: LoRA where ``lora`` is given and for the feedback model and the warm start, else Full."""
    lora: LoRASpec | None = semantic(None)
    """Adapters, with tuning LoRA."""
    precision: Precision | None = semantic(None)
    """Compute precision. Default Auto: BF16 with FP32 master weights on a GPU, FP32 on a CPU."""
    max_length: int | None = semantic(None, ge=16, le=1_048_576)
    """Longest conversation in tokens; a longer row is an invalid row, never silently cut. Default 4096."""

    @model_validator(mode="after")
    def _adapters_go_with_lora(self) -> TrainingSpec:
        if self.lora is not None and self.tuning is Tuning.FULL:
            raise ValueError("lora: found adapters with tuning Full, expected tuning LoRA; remove one of the two")
        return self


class SamplingSpec(Contract):
    """How tokens are drawn."""

    temperature: NonNegative | None = semantic(None)
    """Softmax temperature; 0 is greedy. Default 1; in an evaluation 0."""
    top_p: Fraction | None = semantic(None)
    """Nucleus. Default 1: off."""
    top_k: int | None = semantic(None, ge=0, le=1_000_000)
    """Default 0: off."""
    repetition_penalty: Positive | None = semantic(None)
    """arXiv 1909.05858. Default 1: off."""
    max_tokens: int | None = semantic(None, ge=1, le=65_536)
    """Longest output; an output cut here is marked as such. Default 512."""


class FiltersSpec(Contract):
    """Which synthesised items become pairs: Drop or Keep what a filter matches. Every filter counts either way."""

    identical: FilterAction | None = semantic(None)
    """y* equals y after normalising white space. Default Drop."""
    truncated: FilterAction | None = semantic(None)
    """y* was cut at maxTokens. Default Drop."""
    refusal: FilterAction | None = semantic(None)
    """y* declines to answer. Default Drop."""
    unparsable: FilterAction | None = semantic(None)
    """The critique has no critique or no advice. Default Drop."""
    keep_it: FilterAction | None = semantic(None)
    """The critique says that nothing should change. Default Drop."""
    leaked: FilterAction | None = semantic(None)
    """y* talks about the critique, or opens with a preamble about being improved. Default Drop."""
    min_tokens: int | None = semantic(None, ge=1, le=65_536)
    """A y* with fewer tokens is dropped. Default 1."""
    acceptance: Acceptance | None = semantic(None)
    """Whether a verifier or a judge must prefer y* to y. Default None."""


class GenerationSpec(Contract):
    """How a stage generates text."""

    engine: Engine | None = semantic(None)
    """What generates. Default Transformers."""
    sampling: SamplingSpec | None = semantic(None)
    """For answers."""
    critique_sampling: SamplingSpec | None = semantic(None)
    """For critiques. Default: as ``sampling``, in an evaluation as in synthesis."""
    batch_size: int | None = semantic(None, ge=1, le=4096)
    """Items of a generation batch: the atom of sharding and resume. Default 32."""
    precision: Precision | None = semantic(None)
    """Compute precision. Default Auto."""
    max_length: int | None = semantic(None, ge=16, le=1_048_576)
    """Longest prompt plus output in tokens. Default 4096."""


class SynthesisOptions(GenerationSpec):
    """y from the model, c from the feedback model, y* from the model again."""

    refinement_sampling: SamplingSpec | None = semantic(None)
    """For y*. Default: as ``sampling``."""
    samples_per_prompt: int | None = semantic(None, ge=1, le=64)
    """Answers y per prompt. Default 1."""
    critiques_per_response: int | None = semantic(None, ge=1, le=64)
    """Critiques (and refined responses) per answer. Default 1."""
    refine_from: RefineFrom | None = semantic(None)
    """What the refinement sees. Default ResponseAndCritique."""
    filters: FiltersSpec | None = semantic(None)
    """Which items become pairs."""


class SynthesisSpec(SynthesisOptions):
    """Synthesis of preference pairs."""

    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``; ``nodes`` is the number of independent pods."""


class WarmStartSpec(Contract):
    """Supervised fine-tuning of the initial model before all else; what follows starts from its result."""

    data: tuple[DataSource, ...] = semantic(min_length=1, max_length=16)
    """Demonstrations (prompt and response): a mixture."""
    training: TrainingSpec | None = semantic(None)
    """Optimisation."""
    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``."""


class FeedbackModelSpec(Contract):
    """The model that writes critiques."""

    model: ModelSource | None = semantic(None)
    """Where its training starts. Default: the run's ``model``, without the warm start."""
    training: TrainingSpec | None = semantic(None)
    """Optimisation. Default: LoRA, three epochs."""
    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``."""


class RewardModelSpec(Contract):
    """Bradley-Terry model of the preferences (PPO only)."""

    training: TrainingSpec | None = semantic(None)
    """Optimisation."""
    centring: NonNegative | None = semantic(None)
    """Weight of the term that keeps rewards around 0. Default 0."""
    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``."""


class DPOSpec(Contract):
    """Direct preference optimisation (arXiv 2305.18290)."""

    beta: Positive | None = semantic(None)
    """Strength of the pull towards the reference. Default "0.1"."""
    loss: DPOLoss | None = semantic(None)
    """Which loss. Default Sigmoid."""


class RewardSpec(Contract):
    """What PPO maximises. Default: the run's reward model."""

    verifier: ShortText = semantic()
    """Rule verifier, such as ``instructions``, in place of a reward model."""


class PPOSpec(Contract):
    """Proximal policy optimisation (arXiv 1707.06347) against a reward model or a verifier."""

    reward: RewardSpec | None = semantic(None)
    """What is maximised. Default: the run's reward model."""
    rollout_batch: int | None = semantic(None, ge=1, le=1_000_000)
    """Prompts of one rollout set."""
    mini_epochs: int | None = semantic(None, ge=1, le=100)
    """Passes over a rollout set."""
    kl_coefficient: NonNegative | None = semantic(None)
    """Weight of the per-token KL penalty (k1)."""
    kl_target: Positive | None = semantic(None)
    """Adaptive KL: the coefficient follows this KL. Absent: it is fixed."""
    clip_ratio: Fraction | None = semantic(None)
    """Clip range of the probability ratio."""
    clip_value: Positive | None = semantic(None)
    """Clip range of the value."""
    gamma: Fraction | None = semantic(None)
    """Discount."""
    gae_lambda: Fraction | None = semantic(None)
    """Lambda of generalised advantage estimation (arXiv 1506.02438)."""
    critic_learning_rate: Fraction | None = semantic(None)
    """Peak learning rate of the critic."""
    ptx_coefficient: NonNegative | None = semantic(None)
    """Weight of the supervised term on demonstrations; 0 is off."""
    truncation_penalty: NonNegative | None = semantic(None)
    """Subtracted from the reward of an answer that was cut at maxTokens."""
    sampling: SamplingSpec | None = semantic(None)
    """For rollouts."""


class CheckpointSpec(Contract):
    """When checkpoints are taken, and how many stay."""

    every_seconds: int | None = operational(None, ge=1, le=86_400)
    """Longest time between two. Default 600."""
    keep: int | None = operational(None, ge=1, le=100)
    """How many stay. Default 2."""


class PolicySpec(Contract):
    """Training of the policy."""

    training: TrainingSpec | None = semantic(None)
    """Optimisation. Default: Full, two epochs."""
    dpo: DPOSpec | None = semantic(None)
    """Options of DPO."""
    ppo: PPOSpec | None = semantic(None)
    """Options of PPO."""
    checkpoint: CheckpointSpec | None = operational(None)
    """Checkpoints."""
    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``."""


class SuiteSpec(Contract):
    """One suite of an evaluation."""

    name: SuiteName = semantic()
    """Which suite."""
    label: SuiteLabel | None = semantic(None)
    """Its name in the results, for several entries of one suite. Default: ``name``."""
    data: tuple[DataSource, ...] = semantic((), max_length=16)
    """Prompts (Verifiable, Pairwise) or held-out feedback (Holdout). Default: the run's holdout."""
    holdout_split: HoldoutSplitSpec | None = semantic(None)
    """EvalRun: only the rows of ``data`` that an AlignmentRun with this split sets aside."""
    max_prompts: int | None = semantic(None, ge=1, le=1_000_000)
    """At most this many, chosen by seed. Default: all."""
    judge: JudgeSource | None = semantic(None)
    """Pairwise: who judges. In an EvalRun the default is the run's ``judge``."""


SUITE_LABELS_ARE_UNIQUE = (
    "self.suites.all(a, self.suites.exists_one(b,"
    " (has(a.label) ? a.label : a.name) == (has(b.label) ? b.label : b.name)))"
)


def check_suite_labels(suites: tuple[SuiteSpec, ...]) -> None:
    """Raise ValueError if two entries have one name in the results."""
    seen: set[str] = set()
    for index, suite in enumerate(suites):
        label = suite.label or suite.name.value
        if label in seen:
            raise ValueError(f'suites[{index}]: found "{label}" twice, expected different names; give one a label')
        seen.add(label)


class EvaluationSpec(GenerationSpec):
    """Models side by side on the same prompts, decoding settings and engine."""

    model_config = rules((f"!has(self.suites) || {SUITE_LABELS_ARE_UNIQUE}", "suites need different names: use label"))

    suites: tuple[SuiteSpec, ...] = semantic((), max_length=16)
    """What is measured, in this order. Default: Holdout."""
    compute: StageCompute | None = operational(None)
    """Overrides of the run's ``compute``; ``nodes`` is the number of independent pods."""

    @model_validator(mode="after")
    def _labels_differ(self) -> EvaluationSpec:
        check_suite_labels(self.suites)
        return self


class ExportSpec(Contract):
    """Form of published models."""

    form: ExportForm | None = semantic(None)
    """Merged weights, or the adapter beside its base's digest. Default Merged."""
    precision: Precision | None = semantic(None)
    """BF16 or FP32. Default BF16."""
