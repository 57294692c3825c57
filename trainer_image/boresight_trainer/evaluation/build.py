"""From the configuration to suites with their rows: what can be wrong is found before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from boresight_api.artifact import SourceRecord
from boresight_api.enums import Engine, SuiteName, Task
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import EvaluateConfig, SuiteConfig

from ..data import mixture
from ..data.instructions.registry import FACTS, NEVER_TRAINED
from ..data.records import Feedback, Prompt
from ..data.selection import limited
from ..stage import StageContext
from .judges.endpoint import Endpoint, EndpointJudge
from .judges.judge import Judge
from .judges.local import LocalJudge
from .lineage import related_models
from .suite import Bench, Suite
from .suites.holdout import HoldoutSuite
from .suites.pairwise import PairwiseSuite
from .suites.verifiable import VerifiableSuite

_SUITES = (SuiteName.HOLDOUT, SuiteName.VERIFIABLE, SuiteName.PAIRWISE)
_FACTS = frozenset(kind.kind for kind in FACTS)
R = TypeVar("R", Feedback, Prompt)


@dataclass(frozen=True)
class BuiltSuite:
    """A suite that is ready to run, and the sources that were read for it."""

    suite: Suite
    sources: tuple[SourceRecord, ...]
    asks_endpoint: bool = False
    """Whether a judge behind an endpoint is asked. Processes that share an evaluation leave that to the merge: it needs
    no device, and every question is asked once."""


def build_suites(context: StageContext, config: EvaluateConfig) -> tuple[BuiltSuite, ...]:
    """Every suite of ``config``. Raises StageFailure: InvalidConfig before anything is read, InvalidData after."""
    check(config)
    return tuple(_build(context, config, number) for number in range(len(config.suites)))


def check(config: EvaluateConfig) -> None:
    """Raises StageFailure (InvalidConfig) for what this release cannot evaluate."""
    if config.task is not Task.TEXT_TO_TEXT:
        raise _invalid("task", config.task.value, "TextToText: this release evaluates text")
    if config.engine is not Engine.TRANSFORMERS:
        raise _invalid("engine", config.engine.value, "Transformers: this release generates with nothing else")
    _check_names("candidate and baselines", [config.candidate.name, *(b.name for b in config.baselines)])
    _check_names("suites", [suite.name for suite in config.suites])
    for number, suite in enumerate(config.suites):
        _check_suite(f"suites[{number}]", suite, config)


def _check_suite(field: str, suite: SuiteConfig, config: EvaluateConfig) -> None:
    if suite.suite not in _SUITES:
        raise _invalid(f"{field}.suite", suite.suite.value, "Holdout, Verifiable or Pairwise in this release")
    if not suite.data:
        raise _invalid(f"{field}.data", "no entry", "at least one: the rows to evaluate on")
    for number, value in enumerate(suite.data):
        if suite.holdout is None and value.weight != 1:
            raise _invalid(f"{field}.data[{number}].weight", str(value.weight), "1: a repeated row is no new evidence")
    if suite.suite is SuiteName.HOLDOUT and config.feedback_model is None:
        raise _invalid("feedbackModel", "none", f'the feedback model that suite "{suite.name}" is about')
    if suite.suite is SuiteName.PAIRWISE:
        _check_judge(field, suite)
        if not config.baselines:
            raise _invalid("baselines", "none", f'at least one for suite "{suite.name}" to compare with')


def _check_judge(field: str, suite: SuiteConfig) -> None:
    if (suite.judge is None) == (suite.judge_endpoint is None):
        found = "neither" if suite.judge is None else "both"
        raise _invalid(f"{field}.judge, {field}.judgeEndpoint", found, "one of them")
    if suite.judge_endpoint is not None:
        if suite.judge_model is None:
            raise _invalid(f"{field}.judgeModel", "none", "the model's name at judgeEndpoint")
        Endpoint(suite.judge_endpoint, suite.judge_model, suite.judge_revision)  # refuses what is no URL


def _check_names(field: str, names: Sequence[str]) -> None:
    """Names stand in file names and in the keys of results (the contract bounds their characters)."""
    if len(set(names)) != len(names):
        raise _invalid(field, f"the names {', '.join(names)}", "every name once")


def _build(context: StageContext, config: EvaluateConfig, number: int) -> BuiltSuite:
    entry = config.suites[number]
    if entry.suite is SuiteName.HOLDOUT:
        assert config.feedback_model is not None  # checked
        feedback = mixture.load_feedback(
            entry.data,
            holdout=entry.holdout,
            seed=config.seed,
            max_invalid_percent=config.max_invalid_percent,
            resolve=context.inputs.path,
        )
        rows = _chosen(feedback, config, number)
        suite: Suite = HoldoutSuite(entry.name, rows, config.feedback_model)
        return BuiltSuite(suite, mixture.source_records(entry.data, feedback))
    prompts = mixture.load_prompts(
        entry.data,
        holdout=entry.holdout,
        seed=config.seed,
        max_invalid_percent=config.max_invalid_percent,
        resolve=context.inputs.path,
    )
    chosen = _chosen(prompts, config, number)
    if entry.suite is SuiteName.VERIFIABLE:
        suite = VerifiableSuite(entry.name, chosen, slices_of)
    else:
        suite = _pairwise(context, config, entry, chosen)
    return BuiltSuite(suite, mixture.source_records(entry.data, prompts), entry.judge_endpoint is not None)


def _pairwise(
    context: StageContext, config: EvaluateConfig, entry: SuiteConfig, prompts: tuple[Prompt, ...]
) -> PairwiseSuite:
    judge = entry.judge
    models = (config.candidate, *config.baselines)
    return PairwiseSuite(
        entry.name,
        prompts,
        make_judge=lambda bench: _judge(context, bench, entry),
        contestants=() if judge is None else related_models(context.inputs.artifacts, judge, models),
    )


def _judge(context: StageContext, bench: Bench, entry: SuiteConfig) -> Judge:
    if entry.judge is not None:
        return LocalJudge(bench.shelf, entry.judge, max_length=bench.config.max_length)
    assert entry.judge_endpoint is not None  # checked
    assert entry.judge_model is not None
    endpoint = Endpoint(entry.judge_endpoint, entry.judge_model, entry.judge_revision)
    return EndpointJudge(endpoint, context.store.cache("judge"), context.stop.check)


def _chosen(rows: mixture.Rows[R], config: EvaluateConfig, number: int) -> tuple[R, ...]:
    """The held-out rows if the suite has a holdout split, else all; at most ``maxPrompts``.

    The choice depends on seed and row id alone: what a small suite takes is part of what a large one takes, so their
    answers are shared.
    """
    entry = config.suites[number]
    found = rows.train if entry.holdout is None else rows.holdout
    if not found:
        where = ", ".join(value.uri for value in entry.data)
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"evaluation.suites[{number}].data: found no held-out row in {where}, expected at least one; raise the "
            "holdout's percent or name data of its own",
        )
    keep = limited([row.id for row in found], limit=entry.max_prompts, percent=None, seed=config.seed)
    return tuple(row for row in found if row.id in keep)


def slices_of(constraint: Mapping[str, Any]) -> tuple[str, ...]:
    """Slices of a constraint: its kind, then the kind of question about a medium that it is the answer to, or whether
    our instructions have its kind in evaluation only.
    """
    kind = str(constraint.get("kind"))
    if kind in _FACTS:
        return f"kind-{kind}", f"question-{constraint.get('question')}"
    return f"kind-{kind}", "kinds-never-trained" if kind in NEVER_TRAINED else "kinds-trained"


def _invalid(field: str, found: str, expected: str) -> StageFailure:
    return StageFailure(FailureClass.INVALID_CONFIG, f"evaluation.{field}: found {found}, expected {expected}")
