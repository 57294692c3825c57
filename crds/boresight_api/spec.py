"""The specs of the three kinds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints, model_validator

from .base import Contract, Percent, StoreUri, operational, rules, semantic
from .compute import Compute
from .enums import Task
from .kubernetes import ObjectName
from .sources import DataSource, HoldoutSplitSpec, JudgeSource, ModelSource, NamedModelSource, Url
from .training import (
    SUITE_LABELS_ARE_UNIQUE,
    EvaluationSpec,
    ExportSpec,
    FeedbackModelSpec,
    GenerationSpec,
    PolicySpec,
    RewardModelSpec,
    SuiteSpec,
    SynthesisOptions,
    SynthesisSpec,
    WarmStartSpec,
    check_suite_labels,
)


class Feedback(StrEnum):
    """What the policy learns from."""

    LANGUAGE = "Language"
    BINARY = "Binary"


class Algorithm(StrEnum):
    """How the policy is trained."""

    DPO = "DPO"
    PPO = "PPO"


class StopAfter(StrEnum):
    """Stages after which a run can be held."""

    PREPARE = "Prepare"
    WARM_START = "WarmStart"
    FEEDBACK_MODEL = "FeedbackModel"
    SYNTHESIS = "Synthesis"
    REWARD_MODEL = "RewardModel"
    POLICY = "Policy"


class Method(Contract):
    """Feedback x algorithm."""

    feedback: Feedback | None = semantic(None)
    """Language: critiques train a feedback model that makes pairs. Binary: pairs are annotated. Default Language."""
    algorithm: Algorithm | None = semantic(None)
    """DPO or PPO. Default DPO."""


class RunData(Contract):
    """The data of an AlignmentRun."""

    model_config = rules(
        ("!(has(self.holdout) && has(self.holdoutSplit))", "expected holdout or holdoutSplit, not both"),
    )

    feedback: tuple[DataSource, ...] = semantic(min_length=1, max_length=16)
    """A mixture. Language: trains the feedback model. Binary: the preferences."""
    holdout: tuple[DataSource, ...] = semantic((), max_length=16)
    """Held-out feedback for the evaluation. Default: rows of ``feedback`` set aside by ``holdoutSplit``."""
    holdout_split: HoldoutSplitSpec | None = semantic(None)
    """How many rows of ``feedback`` are set aside: chosen by seed, never trained on. Default 2%, at most 1,000."""
    prompts: tuple[DataSource, ...] = semantic((), max_length=16)
    """Prompts for synthesis. Default: those of ``feedback``."""
    max_invalid_percent: Percent | None = semantic(None)
    """Share of invalid rows above which a stage fails; 0 fails at the first. Default 1."""

    @model_validator(mode="after")
    def _one_holdout(self) -> RunData:
        if self.holdout and self.holdout_split is not None:
            raise ValueError("found holdout and holdoutSplit, expected one of the two")
        return self


class ReadStore(Contract):
    """A further store whose artifacts, and ``s3://`` sources below it, may be read. Listing it is trust in it."""

    uri: StoreUri = operational()
    """Its root."""
    endpoint: Url | None = operational(None)
    """S3 endpoint. Default: AWS."""
    secret_name: ObjectName | None = operational(None)
    """Secret with read credentials."""


class Storage(Contract):
    """Where artifacts and checkpoints lie."""

    uri: StoreUri = operational()
    """Root of the store, such as ``s3://bucket/prefix``."""
    endpoint: Url | None = operational(None)
    """S3 endpoint. Default: AWS."""
    secret_name: ObjectName | None = operational(None)
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and optionally AWS_SESSION_TOKEN."""
    read_from: tuple[ReadStore, ...] = operational((), max_length=8, list_keys=("uri",))
    """Further stores in which artifacts are looked for, in this order, and below which ``s3://`` sources may lie."""


class Hub(Contract):
    """The Hugging Face hub or a mirror of it."""

    endpoint: Url | None = operational(None)
    """Mirror. Default: the hub."""
    secret_name: ObjectName | None = operational(None)
    """Secret with HF_TOKEN."""


class Retry(Contract):
    """Further attempts of a stage at one key, by cause."""

    infrastructure: int | None = operational(None, ge=0, le=1000)
    """After a lost node, network or store. Default 5."""
    error: int | None = operational(None, ge=0, le=100)
    """After an error of the program. Default 1."""


class Timeouts(Contract):
    """Limits in seconds."""

    start_seconds: int | None = operational(None, ge=1, le=604_800)
    """How long a pod may take to start for a reason that waiting does not cure by itself. Default 900."""
    stage_seconds: int | None = operational(None, ge=1, le=31_536_000)
    """How long a stage may run, waiting excluded. Default: no limit."""


RecipeVersion = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}$", max_length=6)]


class RunSpec(Contract):
    """What the specs of all kinds share."""

    recipe: RecipeVersion | None = semantic(None)
    """Version of all stages' recipes and defaults. Absent: the newest at the first plan, which the run then keeps."""
    seed: int | None = semantic(None, ge=0, le=2**53)
    """Everything random derives from it. Default 42."""
    task: Task = semantic()
    """What goes in and what comes out."""
    compute: Compute | None = operational(None)
    """Where and how stages run."""
    storage: Storage | None = operational(None)
    """Where artifacts lie. Default: the settings' (on one's own machine: a folder of the user)."""
    hub: Hub | None = operational(None)
    """Hugging Face hub."""
    retry: Retry | None = operational(None)
    """Budgets of further attempts."""
    timeouts: Timeouts | None = operational(None)
    """Limits."""
    retain_pods_seconds: int | None = operational(None, ge=0, le=31_536_000)
    """How long Jobs and pods stay after the run's end; the run itself is never deleted by us. Default 604,800."""
    suspend: bool | None = operational(None)
    """Stops the run's Job; false goes on from the last checkpoint."""


_PPO = "has(self.method) && has(self.method.algorithm) && self.method.algorithm == 'PPO'"
_BINARY = "has(self.method) && has(self.method.feedback) && self.method.feedback == 'Binary'"


class AlignmentRunSpec(RunSpec):
    """Aligns a model: feedback model, synthesis, policy, evaluation."""

    model_config = rules(
        (f"!has(self.rewardModel) || ({_PPO})", "rewardModel goes with method.algorithm PPO"),
        (f"!(has(self.policy) && has(self.policy.ppo)) || ({_PPO})", "policy.ppo goes with method.algorithm PPO"),
        (f"!(has(self.policy) && has(self.policy.dpo)) || !({_PPO})", "policy.dpo goes with method.algorithm DPO"),
        (
            "!(has(self.rewardModel) && has(self.policy) && has(self.policy.ppo) && has(self.policy.ppo.reward))",
            "expected rewardModel or policy.ppo.reward, not both",
        ),
        (f"!has(self.feedbackModel) || !({_BINARY})", "feedbackModel goes with method.feedback Language"),
        (f"!has(self.synthesis) || !({_BINARY})", "synthesis goes with method.feedback Language"),
    )

    method: Method | None = semantic(None)
    """Feedback x algorithm. Default Language x DPO."""
    model: ModelSource = semantic()
    """The initial model."""
    data: RunData = semantic()
    """Data."""
    warm_start: WarmStartSpec | None = semantic(None)
    """Optional supervised fine-tuning of the initial model before all else."""
    feedback_model: FeedbackModelSpec | None = semantic(None)
    """The model that writes critiques (Language only)."""
    synthesis: SynthesisSpec | None = semantic(None)
    """Synthesis of preference pairs (Language only)."""
    reward_model: RewardModelSpec | None = semantic(None)
    """The reward model (PPO only)."""
    policy: PolicySpec | None = semantic(None)
    """Training of the policy."""
    evaluation: EvaluationSpec | None = semantic(None)
    """What the policy is measured by, against the initial (and the warm-started) model."""
    export: ExportSpec | None = semantic(None)
    """Form of published models."""
    stop_after: StopAfter | None = operational(None)
    """Holds the run after this stage."""

    @model_validator(mode="after")
    def _fits_its_method(self) -> AlignmentRunSpec:
        ppo = self.method is not None and self.method.algorithm is Algorithm.PPO
        binary = self.method is not None and self.method.feedback is Feedback.BINARY
        policy = self.policy or PolicySpec()
        for name, value, allowed, needs in (
            ("rewardModel", self.reward_model, ppo, "method.algorithm PPO"),
            ("policy.ppo", policy.ppo, ppo, "method.algorithm PPO"),
            ("policy.dpo", policy.dpo, not ppo, "method.algorithm DPO"),
            ("feedbackModel", self.feedback_model, not binary, "method.feedback Language"),
            ("synthesis", self.synthesis, not binary, "method.feedback Language"),
        ):
            if value is not None and not allowed:
                raise ValueError(f"{name} goes with {needs}; remove {name} or change method")
        if self.reward_model is not None and policy.ppo is not None and policy.ppo.reward is not None:
            raise ValueError("found rewardModel and policy.ppo.reward, expected one of the two")
        return self


class FeedbackSynthesisSpec(SynthesisOptions, RunSpec):
    """Prompts, a policy and a feedback model: preference pairs."""

    model: ModelSource = semantic()
    """The model that answers and refines."""
    feedback_model: ModelSource = semantic()
    """The model that criticises."""
    prompts: tuple[DataSource, ...] = semantic(min_length=1, max_length=16)
    """Where prompts come from; other columns are ignored."""
    holdout_split: HoldoutSplitSpec | None = semantic(None)
    """Leaves out the rows that an AlignmentRun with this split sets aside. Default: uses all."""
    max_invalid_percent: Percent | None = semantic(None)
    """Share of invalid rows above which the stage fails; 0 fails at the first. Default 1."""


def baseline_name(number: int) -> str:
    """Name in the results of the ``number``-th baseline (from 1) that has none of its own."""
    return "baseline" if number == 1 else f"baseline-{number}"


class EvalRunSpec(GenerationSpec, RunSpec):
    """Models side by side: candidate, baselines, suites."""

    model_config = rules(
        (SUITE_LABELS_ARE_UNIQUE, "suites need different names: use label"),
        (
            "!has(self.baselines) || self.baselines.all(a, !has(a.name) ||"
            " self.baselines.exists_one(b, has(b.name) && b.name == a.name))",
            "baselines need different names",
        ),
        (
            "!has(self.baselines) || !self.baselines.exists(b,"
            " (has(b.name) ? b.name : 'baseline') == (has(self.candidate.name) ? self.candidate.name : 'candidate'))",
            "a baseline needs another name than the candidate",
        ),
    )

    candidate: NamedModelSource = semantic()
    """What is judged."""
    baselines: tuple[NamedModelSource, ...] = semantic((), max_length=8)
    """What it is compared with."""
    feedback_model: ModelSource | None = semantic(None)
    """For suites that look at critiques (Holdout)."""
    suites: tuple[SuiteSpec, ...] = semantic(min_length=1, max_length=16)
    """What is measured, in this order."""
    judge: JudgeSource | None = semantic(None)
    """Judge of the suites that name none."""
    max_invalid_percent: Percent | None = semantic(None)
    """Share of invalid rows above which the stage fails; 0 fails at the first. Default 1."""

    @model_validator(mode="after")
    def _names_differ(self) -> EvalRunSpec:
        check_suite_labels(self.suites)
        seen = {self.candidate.name or "candidate"}
        for index, baseline in enumerate(self.baselines, start=1):
            name = baseline.name or baseline_name(index)
            if name in seen:
                raise ValueError(f'baselines[{index - 1}].name: found "{name}" twice, expected different names')
            seen.add(name)
        return self
