"""Stage configurations: everything a stage computes from, with every default filled in.

The plan makes these from a run's spec; ``stage.json`` carries one to the trainer. A configuration's semantic form and
the recipe's version are all that a key hashes, so whatever is not in here cannot change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from .artifact import key_of
from .base import (
    Contract,
    DecimalNumber,
    Digest,
    Key,
    LongText,
    ModelLabel,
    ShortText,
    SuiteLabel,
    Uri,
    operational,
    semantic,
    semantic_form,
)
from .enums import (
    Acceptance,
    DataFormat,
    DPOLoss,
    Engine,
    ExportForm,
    FilterAction,
    LearningRateSchedule,
    LoRALayers,
    Precision,
    RefineFrom,
    SftTarget,
    SuiteName,
    Task,
    TrustRemoteCode,
    Tuning,
)
from .pins import Revision
from .recipe import CRITIQUE_REQUEST, REFINEMENT_REQUEST


class Input(Contract):
    """Something a stage reads. Identified by the key of the stage that makes it, or by the digest of a source."""

    uri: Uri = operational()
    """Where to read it: ``artifact://<key>``, ``file://``, ``hf://``, ``s3://`` or ``embedded://``."""
    key: Key | None = semantic(None)
    """Key of the stage that makes it; absent for a source."""
    digest: Digest | None = semantic(None)
    """Content digest of a source; absent for an artifact of this plan."""
    revision: Revision | None = operational(None)
    """Commit to read; the digest is what identifies it."""


class ModelInput(Input):
    """A model: weights, tokenizer, chat template."""

    chat_template: LongText | None = semantic(None)
    """Jinja template that replaces the tokenizer's own."""
    system_prompt: LongText | None = semantic(None)
    """System message put before every conversation that has none."""
    trust_remote_code: TrustRemoteCode = semantic(TrustRemoteCode.NEVER)
    """Whether the model's own code may run."""


class DataInput(Input):
    """Rows of a data source."""

    format: DataFormat = semantic()
    """How rows are read."""
    subset: ShortText | None = semantic(None)
    """AlignAnything: which of its subsets; follows from the task."""
    split: ShortText | None = semantic(None)
    """Which split."""
    files: tuple[ShortText, ...] = semantic((), neutral=(), max_length=64)
    """Files below the uri, in this order; empty: all that the split names."""
    columns: dict[ShortText, ShortText] = semantic(default_factory=dict, neutral={}, max_length=32)
    """Jsonl: role -> column name (roles: id, prompt, messages, response, critique, advice, refined_response, chosen,
    rejected, constraints, images, audios, videos)."""
    weight: DecimalNumber = semantic(Decimal(1))
    """Share in a mixture: how often its rows are repeated in an epoch (fractions by seeded choice)."""
    limit: int | None = semantic(None, ge=1)
    """At most this many rows, chosen by seed."""
    limit_percent: DecimalNumber | None = semantic(None)
    """A seeded, nested subset of this share."""


class HoldoutSplit(Contract):
    """Rows of ``feedback`` set aside by seed and never trained on, when no holdout is named."""

    percent: DecimalNumber = semantic(Decimal(2))
    """Share of the rows."""
    max_rows: int = semantic(1000, ge=1)
    """Upper bound."""


class LoRA(Contract):
    """Low-rank adapters (arXiv 2106.09685) on all linear layers of the chosen decoder layers."""

    rank: int = semantic(16, ge=1, le=1024)
    """Rank r."""
    alpha: int = semantic(32, ge=1, le=4096)
    """Scale alpha; the update is scaled by alpha / r."""
    layers: LoRALayers = semantic(LoRALayers.ALL)
    """Which decoder layers."""


class Training(Contract):
    """Optimisation of one stage (AdamW, arXiv 1711.05101)."""

    epochs: int = semantic(1, ge=1, le=1000)
    """Passes over the data."""
    learning_rate: DecimalNumber = semantic()
    """Peak learning rate."""
    schedule: LearningRateSchedule = semantic(LearningRateSchedule.COSINE)
    """Shape after warm-up."""
    warmup_percent: DecimalNumber = semantic(Decimal(3))
    """Share of the steps with a linearly rising rate."""
    global_batch: int = semantic(64, ge=1, le=1_000_000)
    """Samples (or pairs) per optimizer step, over all devices."""
    weight_decay: DecimalNumber = semantic(Decimal(0))
    """Decoupled weight decay."""
    beta1: DecimalNumber = semantic(Decimal("0.9"))
    """AdamW beta1."""
    beta2: DecimalNumber = semantic(Decimal("0.95"))
    """AdamW beta2."""
    max_grad_norm: DecimalNumber = semantic(Decimal(1))
    """Gradients are scaled down to this global norm."""
    tuning: Tuning = semantic(Tuning.LORA)
    """LoRA or Full."""
    lora: LoRA | None = semantic(None)
    """Adapters; present if and only if tuning is LoRA."""
    precision: Precision = semantic(Precision.AUTO)
    """Compute precision."""
    max_length: int = semantic(4096, ge=16, le=1_048_576)
    """Longest conversation in tokens; a longer row is an invalid row, never silently cut."""


class Templates(Contract):
    """The words around critique and refinement. ``{prompt}``, ``{response}`` and ``{critique}`` are replaced."""

    critique_request: LongText = semantic(CRITIQUE_REQUEST)
    """User turn that asks the feedback model for language feedback (critique and refinement advice)."""
    refinement_request: LongText = semantic(REFINEMENT_REQUEST)
    """User turn, after x and y, that asks the initial model for the refined response y*."""


class Sampling(Contract):
    """How tokens are drawn. Temperature 0 is greedy."""

    temperature: DecimalNumber = semantic(Decimal(1))
    """Softmax temperature."""
    top_p: DecimalNumber = semantic(Decimal(1))
    """Nucleus; 1 is off."""
    top_k: int = semantic(0, ge=0)
    """0 is off."""
    repetition_penalty: DecimalNumber = semantic(Decimal(1))
    """1 is off (arXiv 1909.05858)."""
    max_tokens: int = semantic(512, ge=1, le=65_536)
    """Longest output; an output cut here is marked as such."""


class Filters(Contract):
    """Which synthesised items become pairs. Every filter counts what it matches, dropped or kept."""

    identical: FilterAction = semantic(FilterAction.DROP)
    """y* equals y after normalising white space."""
    truncated: FilterAction = semantic(FilterAction.DROP)
    """y* was cut at maxTokens."""
    refusal: FilterAction = semantic(FilterAction.DROP)
    """y* declines to answer."""
    unparsable: FilterAction = semantic(FilterAction.DROP)
    """The critique has no critique or no advice."""
    keep_it: FilterAction = semantic(FilterAction.DROP)
    """The critique says that nothing should change."""
    leaked: FilterAction = semantic(FilterAction.DROP)
    """y* talks about the critique, or opens with a preamble about being improved."""
    min_tokens: int = semantic(1, ge=1)
    """y* with fewer tokens is dropped as too short."""
    acceptance: Acceptance = semantic(Acceptance.NONE)
    """Whether a verifier or a judge must prefer y*."""


class SftConfig(Contract):
    """Supervised fine-tuning: the warm start (target Response) and the feedback model (target Critique)."""

    recipe: Literal["sft"] = operational("sft")
    """Discriminator; the recipe's name is hashed beside the configuration."""
    task: Task = semantic()
    """The task."""
    target: SftTarget = semantic()
    """What is scored."""
    model: ModelInput = semantic()
    """Where training starts."""
    data: tuple[DataInput, ...] = semantic(min_length=1, max_length=16)
    """A mixture."""
    holdout: HoldoutSplit | None = semantic(None)
    """Rows of ``data`` never trained on; absent when the manifest names its own holdout."""
    max_invalid_percent: DecimalNumber = semantic(Decimal(1))
    """Share of invalid rows above which the stage fails."""
    training: Training = semantic()
    """Optimisation."""
    templates: Templates = semantic(Templates())
    """Prompts of critique and refinement."""
    export: ExportForm = semantic(ExportForm.MERGED)
    """What is published."""
    export_precision: Precision = semantic(Precision.BF16)
    """Precision of published weights: BF16 or FP32."""
    seed: int = semantic(ge=0, le=2**53)
    """The run's seed."""


class SynthesisConfig(Contract):
    """y from the initial model, c from the feedback model, y* from the initial model again; y* is preferred to y."""

    recipe: Literal["synthesize"] = operational("synthesize")
    """Discriminator."""
    task: Task = semantic()
    """The task."""
    model: ModelInput = semantic()
    """The initial model (the warm-started one if there is a warm start)."""
    feedback_model: ModelInput = semantic()
    """The feedback model."""
    prompts: tuple[DataInput, ...] = semantic(min_length=1, max_length=16)
    """Where x comes from; other columns are ignored."""
    holdout: HoldoutSplit | None = semantic(None)
    """When the prompts are those of ``feedback``: the rows set aside there are set aside here too."""
    max_invalid_percent: DecimalNumber = semantic(Decimal(1))
    """Share of invalid rows above which the stage fails."""
    samples_per_prompt: int = semantic(1, ge=1, le=64)
    """Answers y per prompt."""
    critiques_per_response: int = semantic(1, ge=1, le=64)
    """Critiques (and refined responses) per answer."""
    refine_from: RefineFrom = semantic(RefineFrom.RESPONSE_AND_CRITIQUE)
    """What the refinement sees."""
    engine: Engine = semantic(Engine.TRANSFORMERS)
    """What generates."""
    sampling: Sampling = semantic()
    """For y."""
    critique_sampling: Sampling = semantic()
    """For c."""
    refinement_sampling: Sampling = semantic()
    """For y*."""
    batch_size: int = semantic(32, ge=1, le=4096)
    """Items of a generation batch: the atom of sharding and resume."""
    filters: Filters = semantic(Filters())
    """Which items become pairs."""
    templates: Templates = semantic(Templates())
    """Prompts of critique and refinement."""
    precision: Precision = semantic(Precision.AUTO)
    """Compute precision."""
    max_length: int = semantic(4096, ge=16, le=1_048_576)
    """Longest prompt plus output in tokens."""
    seed: int = semantic(ge=0, le=2**53)
    """The run's seed."""


class DPOOptions(Contract):
    """Direct preference optimisation (arXiv 2305.18290)."""

    beta: DecimalNumber = semantic(Decimal("0.1"))
    """Strength of the pull towards the reference; its scale belongs to the scorer."""
    loss: DPOLoss = semantic(DPOLoss.SIGMOID)
    """Which loss."""


class DpoConfig(Contract):
    """Preference optimisation of the policy, starting at (and measured against) the reference."""

    recipe: Literal["dpo"] = operational("dpo")
    """Discriminator."""
    task: Task = semantic()
    """The task."""
    model: ModelInput = semantic()
    """The policy at step 0, which is also the reference."""
    pairs: Input | None = semantic(None)
    """The synthesis artifact (Language)."""
    data: tuple[DataInput, ...] = semantic((), neutral=(), max_length=16)
    """Binary preferences (Binary)."""
    holdout: HoldoutSplit | None = semantic(None)
    """Rows of ``data`` never trained on."""
    max_invalid_percent: DecimalNumber = semantic(Decimal(1))
    """Share of invalid rows above which the stage fails."""
    dpo: DPOOptions = semantic(DPOOptions())
    """The objective."""
    training: Training = semantic()
    """Optimisation."""
    export: ExportForm = semantic(ExportForm.MERGED)
    """What is published."""
    export_precision: Precision = semantic(Precision.BF16)
    """Precision of published weights."""
    seed: int = semantic(ge=0, le=2**53)
    """The run's seed."""


class NamedModel(Contract):
    """A model under its name in results: ``initial``, ``warm-start``, ``policy``, ``candidate``, ``baseline``."""

    name: ModelLabel = semantic()
    """The name."""
    model: ModelInput = semantic()
    """The model."""


class SuiteConfig(Contract):
    """One suite with everything that decides its result."""

    suite: SuiteName = semantic()
    """Which suite."""
    name: SuiteLabel = semantic()
    """Its name in results; several entries of one suite have different names."""
    data: tuple[DataInput, ...] = semantic((), neutral=(), max_length=16)
    """Prompts (Verifiable, Pairwise) or held-out feedback (Holdout)."""
    holdout: HoldoutSplit | None = semantic(None)
    """Holdout without data of its own: the rows set aside from ``data``."""
    max_prompts: int | None = semantic(None, ge=1)
    """At most this many, chosen by seed."""
    judge: ModelInput | None = semantic(None)
    """Pairwise: a local judge model."""
    judge_endpoint: Uri | None = operational(None)
    """Pairwise: base URL of an OpenAI-compatible endpoint; ``judge_model`` and ``judge_revision`` identify it."""
    judge_model: ShortText | None = semantic(None)
    """Pairwise: model name at the endpoint."""
    judge_revision: ShortText | None = semantic(None)
    """Pairwise: a label for the endpoint's weights; changing it runs the stage again."""


class EvaluateConfig(Contract):
    """Models side by side on the same prompts, decoding settings and engine."""

    recipe: Literal["evaluate"] = operational("evaluate")
    """Discriminator."""
    task: Task = semantic()
    """The task."""
    candidate: NamedModel = semantic()
    """What is judged."""
    baselines: tuple[NamedModel, ...] = semantic((), max_length=8)
    """What it is compared with, pair by pair."""
    feedback_model: ModelInput | None = semantic(None)
    """For suites that look at critiques."""
    suites: tuple[SuiteConfig, ...] = semantic(min_length=1, max_length=16)
    """In this order."""
    max_invalid_percent: DecimalNumber = semantic(Decimal(1))
    """Share of invalid rows in a suite's data above which the stage fails."""
    engine: Engine = semantic(Engine.TRANSFORMERS)
    """What generates."""
    sampling: Sampling = semantic()
    """For answers."""
    critique_sampling: Sampling = semantic(Sampling())
    """For critiques (Holdout); as in synthesis, so that what is measured is what trained."""
    batch_size: int = semantic(32, ge=1, le=4096)
    """Items of a generation batch."""
    templates: Templates = semantic(Templates())
    """Prompts of critique and refinement."""
    precision: Precision = semantic(Precision.AUTO)
    """Compute precision."""
    max_length: int = semantic(4096, ge=16, le=1_048_576)
    """Longest prompt plus output in tokens."""
    seed: int = semantic(ge=0, le=2**53)
    """The run's seed."""


AnyConfig = SftConfig | SynthesisConfig | DpoConfig | EvaluateConfig
StageConfig = Annotated[AnyConfig, Field(discriminator="recipe")]
"""Configurations of keyed stages that this release can run."""


def inputs_of(value: object, role: str = "") -> Iterator[tuple[str, Input]]:
    """Every input in a configuration, with the path of fields that leads to it."""
    if isinstance(value, Input):
        yield role, value
    elif isinstance(value, Contract):
        for name, info in type(value).model_fields.items():
            yield from inputs_of(getattr(value, name), f"{role}.{info.alias or name}".lstrip("."))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from inputs_of(item, f"{role}[{index}]")


def stage_key(config: AnyConfig, version: int) -> str:
    """The input-addressed key of a stage."""
    return key_of(config.recipe, version, semantic_form(config))
