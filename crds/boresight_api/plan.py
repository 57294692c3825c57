"""The plan: from a run and the pins of its sources to stages with keys. Pure; one function for the three kinds.

prepare -> [warm-start] -> feedback-model -> synthesis -> policy -> evaluation
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from .base import Contract, canonical_json, sha256_hex
from .compute import Compute, StageCompute
from .enums import SftTarget, SuiteName
from .inputs import SourceBook
from .kinds import AlignmentRun, EvalRun, FeedbackSynthesis, Run
from .pins import MAX_SOURCES, Pin, Source
from .problems import PlanError, Problem
from .recipe import Recipe
from .resolve import recipe_of, resolve
from .runnable import unrunnable
from .sources import JudgeSource, ModelSource
from .spec import AlignmentRunSpec, EvalRunSpec, FeedbackSynthesisSpec
from .stages import (
    AnyConfig,
    DataInput,
    DpoConfig,
    EvaluateConfig,
    ModelInput,
    NamedModel,
    SftConfig,
    SuiteConfig,
    SynthesisConfig,
    inputs_of,
    stage_key,
)
from .training import CheckpointSpec, SuiteSpec

C = TypeVar("C", bound=Contract)


@dataclass(frozen=True)
class PlannedStage:
    """One keyed stage."""

    name: str
    recipe: str
    recipe_version: int
    config: AnyConfig
    key: str | None
    """None as long as a source of this stage, or of one before it, is not pinned: known after prepare."""
    parents: tuple[str, ...]
    """Names of the stages whose artifacts it reads."""
    compute: Compute
    """The run's compute with the stage's own over it."""
    checkpoint: CheckpointSpec
    """When checkpoints are taken."""
    unpinned: bool
    """Whether it asks an endpoint whose weights cannot be pinned."""


@dataclass(frozen=True)
class Plan:
    """What a run does, in order."""

    recipe: str
    """Version of recipes and defaults."""
    stages: tuple[PlannedStage, ...]
    sources: tuple[Source, ...]
    stop_after: str | None
    """Name of the stage after which the run is held; ``prepare`` is before all of them."""

    def stage(self, name: str) -> PlannedStage:
        """The stage of that name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 over the stages' names and keys; None as long as one is unknown."""
        keys = [[stage.name, stage.key] for stage in self.stages]
        return None if any(key is None for _, key in keys) else sha256_hex(canonical_json(keys))

    @cached_property
    def unpinned_digest(self) -> str:
        """SHA-256 over what the stages are made of, whatever is pinned: it tells plans apart whose keys are unknown."""
        stages = [
            [stage.name, stage.recipe_version, stage.config.model_dump_json(by_alias=True)] for stage in self.stages
        ]
        return sha256_hex(canonical_json([stages, [source.digest for source in self.sources]]))


def plan(run: Run, pins: Mapping[str, Pin] | None = None, *, recipe: str | None = None) -> Plan:
    """The stages of ``run``, with the keys that ``pins`` (by source id) already allow.

    ``recipe`` is the version of the run's first plan; it counts where the manifest names none. Raises
    :class:`boresight_api.problems.PlanError` with everything that cannot be planned, or not by this release.
    """
    if problems := list(unrunnable(run)):
        raise PlanError(problems)
    version, rules = recipe_of(run, recipe)
    resolved = resolve(run, recipe)
    planner = _Planner(rules, SourceBook({} if pins is None else pins), resolved.spec.compute or Compute())
    match resolved:
        case AlignmentRun(spec=spec):
            planner.alignment_run(spec)
        case FeedbackSynthesis(spec=spec):
            planner.feedback_synthesis(spec)
        case EvalRun(spec=spec):
            planner.eval_run(spec)
    found = planner.book.sources
    if len(found) > MAX_SOURCES:
        advice = "name files of one place in one entry's `files`, or split the run"
        raise PlanError([Problem("spec", f"{len(found)} different sources", f"at most {MAX_SOURCES}", advice)])
    return Plan(version, tuple(planner.stages), found, _stop_after(resolved, planner.stages))


def sources(run: Run) -> tuple[Source, ...]:
    """What ``run`` reads from outside, each once, in the order of use. Raises PlanError as :func:`plan` does."""
    return plan(run).sources


class _Planner:
    """Makes stages one after the other; the key of each flows into those that read its artifact."""

    def __init__(self, recipe: Recipe, book: SourceBook, compute: Compute) -> None:
        self.recipe = recipe
        self.book = book
        self.compute = compute
        self.stages: list[PlannedStage] = []

    def alignment_run(self, spec: AlignmentRunSpec) -> None:
        """[warm-start] -> feedback-model -> synthesis -> policy -> evaluation; Binary has no feedback stages."""
        initial = self.book.model(spec.model, "model")
        compared = {"initial": initial}
        if spec.warm_start is not None:
            compared["warm-start"] = self._warm_start(spec, initial)
        start = compared.get("warm-start", initial)
        feedback = self.book.data(spec.data.feedback, "feedback")
        feedback_model = pairs = None
        if spec.feedback_model is not None:
            feedback_model = self._feedback_model(spec, feedback)
            pairs = self._synthesis(spec, start, feedback_model, feedback)
        policy = self._policy(spec, start, pairs, feedback)
        if spec.evaluation is not None:
            self._evaluation(spec, policy, compared, feedback_model, feedback)

    def feedback_synthesis(self, spec: FeedbackSynthesisSpec) -> None:
        """One stage: synthesis."""
        config = {
            **_fields(spec, SynthesisConfig),
            "model": self.book.model(spec.model, "model"),
            "feedbackModel": self.book.model(spec.feedback_model, "feedback-model"),
            "prompts": self.book.data(spec.prompts, "prompts"),
            "holdout": _dump(spec.holdout_split),
        }
        self._add("synthesis", SynthesisConfig, config)

    def eval_run(self, spec: EvalRunSpec) -> None:
        """One stage: evaluation."""
        looked_at = spec.feedback_model if any(suite.name is SuiteName.HOLDOUT for suite in spec.suites) else None
        config = {
            **_fields(spec, EvaluateConfig),
            "candidate": self._named(spec.candidate.name, self.book.model(spec.candidate, "candidate")),
            "baselines": tuple(self._named(model.name, self.book.model(model, "baseline")) for model in spec.baselines),
            "feedbackModel": self.book.model(looked_at, "feedback-model") if looked_at else None,
            "suites": tuple(self._suite(suite, (), None, spec.judge) for suite in spec.suites),
        }
        self._add("evaluation", EvaluateConfig, config)

    def _warm_start(self, spec: AlignmentRunSpec, initial: ModelInput) -> ModelInput:
        assert spec.warm_start is not None
        config = {
            **_common(spec),
            **_trained(spec),
            "target": SftTarget.RESPONSE,
            "model": initial,
            "data": self.book.data(spec.warm_start.data, "warm-start"),
            "training": _dump(spec.warm_start.training),
        }
        return _made_by(self._add("warm-start", SftConfig, config, spec.warm_start.compute), spec.model)

    def _feedback_model(self, spec: AlignmentRunSpec, feedback: tuple[DataInput, ...]) -> ModelInput:
        """Trained from the initial model without the warm start, so that neither waits for the other."""
        assert spec.feedback_model is not None and spec.feedback_model.model is not None
        config = {
            **_common(spec),
            **_trained(spec),
            "target": SftTarget.CRITIQUE,
            "model": self.book.model(spec.feedback_model.model, "feedback-model"),
            "data": feedback,
            "holdout": _dump(spec.data.holdout_split),
            "training": _dump(spec.feedback_model.training),
        }
        stage = self._add("feedback-model", SftConfig, config, spec.feedback_model.compute)
        return _made_by(stage, spec.feedback_model.model)

    def _synthesis(
        self, spec: AlignmentRunSpec, model: ModelInput, feedback_model: ModelInput, feedback: tuple[DataInput, ...]
    ) -> PlannedStage:
        """Prompts default to those of ``feedback``, without the rows that are set aside there."""
        assert spec.synthesis is not None
        own = self.book.data(spec.data.prompts, "prompts")
        config = {
            **_common(spec),
            **_fields(spec.synthesis, SynthesisConfig),
            "model": model,
            "feedbackModel": feedback_model,
            "prompts": own or feedback,
            "holdout": None if own else _dump(spec.data.holdout_split),
        }
        return self._add("synthesis", SynthesisConfig, config, spec.synthesis.compute)

    def _policy(
        self, spec: AlignmentRunSpec, start: ModelInput, pairs: PlannedStage | None, feedback: tuple[DataInput, ...]
    ) -> ModelInput:
        """DPO on the synthesised pairs, or (Binary) on the annotated preferences of ``feedback``."""
        assert spec.policy is not None
        config = {
            **_common(spec),
            **_trained(spec),
            "model": start,
            "dpo": _dump(spec.policy.dpo),
            "training": _dump(spec.policy.training),
        }
        if pairs is not None:
            config["pairs"] = {"uri": f"artifact://{pairs.key or pairs.name}", "key": pairs.key}
        else:
            config |= {"data": feedback, "holdout": _dump(spec.data.holdout_split)}
        stage = self._add("policy", DpoConfig, config, spec.policy.compute, spec.policy.checkpoint)
        return _made_by(stage, spec.model)

    def _evaluation(
        self,
        spec: AlignmentRunSpec,
        policy: ModelInput,
        compared: Mapping[str, ModelInput],
        feedback_model: ModelInput | None,
        feedback: tuple[DataInput, ...],
    ) -> None:
        """The policy against the initial and the warm-started model, on the holdout where a suite has no data."""
        assert spec.evaluation is not None
        suites = spec.evaluation.suites
        holdout = self.book.data(spec.data.holdout, "holdout") or feedback
        looked_at = any(suite.name is SuiteName.HOLDOUT for suite in suites)
        config = {
            **_common(spec),
            **_fields(spec.evaluation, EvaluateConfig),
            "candidate": self._named("policy", policy),
            "baselines": tuple(self._named(name, model) for name, model in compared.items()),
            "feedbackModel": feedback_model if looked_at else None,
            "suites": tuple(self._suite(suite, holdout, _dump(spec.data.holdout_split), None) for suite in suites),
        }
        self._add("evaluation", EvaluateConfig, config, spec.evaluation.compute)

    def _suite(
        self, suite: SuiteSpec, holdout: tuple[DataInput, ...], split: dict[str, Any] | None, judge: JudgeSource | None
    ) -> SuiteConfig:
        own = self.book.data(suite.data, "suite")
        judged_by = (suite.judge or judge) if suite.name is SuiteName.PAIRWISE else None
        return SuiteConfig.model_validate(
            {
                "suite": suite.name,
                "name": suite.label,
                "data": own or holdout,
                "holdout": _dump(suite.holdout_split) if own else split,
                "max_prompts": suite.max_prompts,
                **(self._judge(judged_by) if judged_by else {}),
            }
        )

    def _judge(self, judge: JudgeSource) -> dict[str, Any]:
        if judge.endpoint is None:
            return {"judge": self.book.judge(judge, "judge")}
        return {
            "judge_endpoint": judge.endpoint,
            "judge_model": judge.model,
            "judge_revision": judge.revision,
        }

    @staticmethod
    def _named(name: str | None, model: ModelInput) -> NamedModel:
        assert name is not None
        return NamedModel(name=name, model=model)

    def _add(
        self,
        name: str,
        model: type[AnyConfig],
        fields: Mapping[str, Any],
        compute: StageCompute | None = None,
        checkpoint: CheckpointSpec | None = None,
    ) -> PlannedStage:
        """Append a stage. Its key is known if that (or the digest) of every input is."""
        templates = {"templates": self.recipe.defaults.templates} if "templates" in model.model_fields else {}
        config = model.model_validate({**templates, **fields})
        version = self.recipe.stages[config.recipe]
        inputs = [value for _, value in inputs_of(config)]
        known = all(value.key is not None or value.digest is not None for value in inputs)
        keys = {stage.key: stage.name for stage in self.stages}
        names = {stage.name for stage in self.stages}
        read = [keys.get(value.key) if value.key else value.uri.removeprefix("artifact://") for value in inputs]
        stage = PlannedStage(
            name=name,
            recipe=config.recipe,
            recipe_version=version,
            config=config,
            key=stage_key(config, version) if known else None,
            parents=tuple(parent for parent in dict.fromkeys(read) if parent in names),
            compute=overlaid(self.compute, compute),
            checkpoint=checkpoint or CheckpointSpec(),
            unpinned=isinstance(config, EvaluateConfig) and any(suite.judge_endpoint for suite in config.suites),
        )
        self.stages.append(stage)
        return stage


def _common(spec: AlignmentRunSpec) -> dict[str, Any]:
    return {"task": spec.task, "seed": spec.seed, "max_invalid_percent": spec.data.max_invalid_percent}


def _trained(spec: AlignmentRunSpec) -> dict[str, Any]:
    assert spec.export is not None
    return {"export": spec.export.form, "export_precision": spec.export.precision}


def _fields(spec: Contract, model: type[Contract]) -> dict[str, Any]:
    """The fields of ``spec`` that ``model`` has too, under their names in documents, as plain data.

    But for ``recipe``, which is a version in a spec and a name in a configuration.
    """
    names = {field.alias for field in model.model_fields.values()} - {"recipe"}
    return {name: value for name, value in (_dump(spec) or {}).items() if name in names}


def _dump(spec: Contract | None) -> dict[str, Any] | None:
    return None if spec is None else spec.model_dump(by_alias=True, exclude_none=True)


def _made_by(stage: PlannedStage, like: ModelSource) -> ModelInput:
    """The model that ``stage`` publishes; it is talked to as the model it was trained from."""
    return ModelInput.model_validate(
        {
            "uri": f"artifact://{stage.key or stage.name}",
            "key": stage.key,
            "chat_template": like.chat_template,
            "system_prompt": like.system_prompt,
            "trust_remote_code": like.trust_remote_code,
        }
    )


def overlaid(base: C, over: Contract | None) -> C:
    """``over`` on top of ``base``, field by field; lists and maps are replaced."""
    if over is None:
        return base
    update: dict[str, Any] = {}
    for name in over.model_fields_set:
        value, below = getattr(over, name), getattr(base, name)
        update[name] = overlaid(below, value) if isinstance(value, Contract) and isinstance(below, Contract) else value
    return base.model_copy(update={name: value for name, value in update.items() if value is not None})


def _stop_after(run: Run, stages: list[PlannedStage]) -> str | None:
    """The stage that ``stopAfter`` names. Raises PlanError if the run has no such stage."""
    if not isinstance(run, AlignmentRun) or run.spec.stop_after is None:
        return None
    wanted = re.sub(r"(?<!^)(?=[A-Z])", "-", run.spec.stop_after.value).lower()
    names = ["prepare", *(stage.name for stage in stages)]
    if wanted not in names:
        known = ", ".join("".join(word.capitalize() for word in name.split("-")) for name in names)
        raise PlanError([Problem("spec.stopAfter", f'"{run.spec.stop_after.value}"', f"a stage of this run: {known}")])
    return wanted
