"""Keys at the operator: one for one computation, whoever asks, wherever it runs, and whatever the settings say."""

from __future__ import annotations

from typing import Any

import hypothesis
from boresight_api.execution import Stage
from boresight_api.plan import Plan, plan
from boresight_api.stages import DataInput, EvaluateConfig, ModelInput, SuiteConfig, SynthesisConfig, inputs_of
from boresight_operator.api import CONFIG_MAPS
from boresight_operator.objects import render
from boresight_operator.settings import NamespaceSettings
from boresight_operator.views import Observation
from builders_manifests import KEY, an_alignment_run, manifest, run_of
from builders_objects import SETTINGS, STORE, attempt, observed, stored
from hypothesis import given
from hypothesis import strategies as st

_SAMPLING = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from(["0", "0.7", "1", "1.0"]),
        "topP": st.sampled_from(["0.9", "1"]),
        "maxTokens": st.sampled_from([16, 512]),
    },
)
_GENERATION = {
    "sampling": _SAMPLING,
    "critiqueSampling": _SAMPLING,
    "batchSize": st.sampled_from([4, 32]),
    "maxLength": st.sampled_from([512, 4096]),
}
_SUITES = st.lists(
    st.sampled_from(
        [
            {"name": "Holdout"},
            {"name": "Verifiable", "maxPrompts": 50},
            {"name": "Pairwise", "judge": {"uri": f"artifact://{KEY}"}},
            {"name": "Pairwise", "label": "by-endpoint", "judge": {"endpoint": "https://x/v1", "model": "m"}},
        ]
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda suite: suite.get("label", suite["name"]),
)
_DATA = {"uri": "file:///data/other.jsonl", "format": "Jsonl"}
_SPEC = st.fixed_dictionaries(
    {"evaluation": st.fixed_dictionaries({"suites": _SUITES}, optional=_GENERATION)},
    optional={
        "seed": st.sampled_from([0, 7]),
        "model": st.sampled_from([{"chatTemplate": "{{ a }}"}, {"systemPrompt": "Be brief."}]),
        "warmStart": st.just({"data": [_DATA]}),
        "feedbackModel": st.just({"model": {"uri": "hf://a/critic", "trustRemoteCode": "Always"}}),
        "synthesis": st.fixed_dictionaries(
            {},
            optional={
                **_GENERATION,
                "refinementSampling": _SAMPLING,
                "samplesPerPrompt": st.just(2),
                "refineFrom": st.just("Critique"),
                "filters": st.just({"identical": "Keep", "minTokens": 4}),
            },
        ),
        "data": st.sampled_from(
            [
                {"holdoutSplit": {"percent": 5}},
                {"holdout": [_DATA]},
                {"prompts": [{**_DATA, "limit": "25%"}], "maxInvalidPercent": 5},
                {"feedback": [{**_DATA, "weight": "0.5", "files": ["a", "b"], "limit": 40}]},
            ]
        ),
        "policy": st.just({"dpo": {"beta": "0.3"}}),
    },
)
_OPERATIONAL = st.fixed_dictionaries(
    {},
    optional={
        "suspend": st.booleans(),
        "compute": st.fixed_dictionaries(
            {},
            optional={
                "devicesPerNode": st.sampled_from([0, 1]),
                "tokenBudget": st.sampled_from(["Auto", 1024]),
                "queueName": st.just("gpus"),
                "podTemplate": st.just({"nodeSelector": {"pool": "a"}, "env": [{"name": "A", "value": "b"}]}),
            },
        ),
        "synthesis": st.just({"compute": {"nodes": 8}}),
        "retry": st.just({"error": 3}),
        "timeouts": st.just({"stageSeconds": 60}),
        "storage": st.sampled_from([STORE, {"uri": "s3://elsewhere", "endpoint": "https://minio"}]),
        "hub": st.just({"endpoint": "https://mirror"}),
        "stopAfter": st.just("Synthesis"),
        "retainPodsSeconds": st.just(1),
    },
)
_SETTINGS = st.sampled_from(
    [
        SETTINGS,
        SETTINGS.overlaid({"image": "other", "devices_per_node": 0, "run_as_user": 7, "cluster_name": "east"}),
        SETTINGS.overlaid({"queue_name": "gpus", "queue_cpu_stages": True, "grace_period_seconds": 5}),
        SETTINGS.overlaid({"pod_template": {"nodeSelector": {"pool": "b"}}, "limits": {"max_runs": 1}}),
    ]
)


def planned(observation: Observation) -> Plan:
    assert observation.plan is not None
    return observation.plan


def alone(kind: str, spec: dict[str, Any], like: Observation) -> Plan:
    """The plan of a run of its own, its sources pinned to what ``like`` has (by content)."""
    return plan(run_of(manifest(kind, spec)), {**like.pins})


def _dump(value: Any, *left_out: str) -> dict[str, Any]:
    found: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: item for name, item in found.items() if name not in {"recipe", "templates", *left_out}}


def _model(value: ModelInput) -> dict[str, Any]:
    return _dump(value, "key")


def _data(value: DataInput) -> dict[str, Any]:
    found = _dump(value, "key", "limitPercent")
    return {**found, **({"limit": f"{value.limit_percent}%"} if value.limit_percent is not None else {})}


def _suite(value: SuiteConfig) -> dict[str, Any]:
    judge: dict[str, Any] | None = _model(value.judge) if value.judge is not None else None
    if judge is not None:
        judge.pop("trustRemoteCode")
    if value.judge_endpoint is not None:
        judge = {"endpoint": value.judge_endpoint, "model": value.judge_model}
    return {
        "name": value.suite.value,
        "label": value.name,
        "data": [_data(item) for item in value.data],
        **({"maxPrompts": value.max_prompts} if value.max_prompts else {}),
        **({"holdoutSplit": _dump(value.holdout)} if value.holdout else {}),
        **({"judge": judge} if judge else {}),
    }


@hypothesis.settings(deadline=None)
@given(_SPEC)
def test_an_eval_run_with_the_inputs_of_a_run_s_evaluation_has_its_key(spec: dict[str, Any]) -> None:
    whole = observed(stored(an_alignment_run(**spec)))
    stage = planned(whole).stage("evaluation")
    config = stage.config
    assert isinstance(config, EvaluateConfig)
    looks_at_critiques = {"feedbackModel": _model(config.feedback_model)} if config.feedback_model else {}
    wish = {
        **_dump(config, "candidate", "baselines", "feedbackModel", "suites"),
        "candidate": {"name": config.candidate.name, **_model(config.candidate.model)},
        "baselines": [{"name": each.name, **_model(each.model)} for each in config.baselines],
        "suites": [_suite(suite) for suite in config.suites],
        **looks_at_critiques,
    }
    (evaluation,) = alone("EvalRun", wish, whole).stages
    assert evaluation.key == stage.key is not None


@hypothesis.settings(deadline=None)
@given(_SPEC)
def test_a_feedback_synthesis_with_the_inputs_of_a_run_s_synthesis_has_its_key(spec: dict[str, Any]) -> None:
    whole = observed(stored(an_alignment_run(**spec)))
    stage = planned(whole).stage("synthesis")
    config = stage.config
    assert isinstance(config, SynthesisConfig)
    wish = {
        **_dump(config, "model", "feedbackModel", "prompts", "holdout"),
        "model": _model(config.model),
        "feedbackModel": _model(config.feedback_model),
        "prompts": [_data(item) for item in config.prompts],
        **({"holdoutSplit": _dump(config.holdout)} if config.holdout else {}),
    }
    (synthesis,) = alone("FeedbackSynthesis", wish, whole).stages
    assert synthesis.key == stage.key is not None


@hypothesis.settings(deadline=None)
@given(_OPERATIONAL, _SETTINGS, st.integers(0, 3))
def test_nothing_operational_is_in_a_key(spec: dict[str, Any], settings: NamespaceSettings, halvings: int) -> None:
    """Settings, placement, suspend, devices, the number of pods, another attempt: the same keys, told to the pods."""
    plain, other = observed(stored(an_alignment_run())), observed(stored(an_alignment_run(**spec)), settings)
    assert [stage.key for stage in planned(other).stages] == [stage.key for stage in planned(plain).stages]
    assert planned(other).digest == planned(plain).digest
    for stage in planned(other).stages:
        made = dict(render(other, attempt(other, stage.name, 2, halvings=halvings)))[CONFIG_MAPS]
        document = Stage.model_validate_json(made["data"]["stage.json"])
        assert document.key == planned(plain).stage(stage.name).key
        assert [value for _, value in inputs_of(document.config)] == [
            value for _, value in inputs_of(planned(plain).stage(stage.name).config)
        ]


def test_a_sweep_over_beta_has_one_feedback_model_and_one_synthesis() -> None:
    plans = [
        planned(observed(stored(an_alignment_run(policy={"dpo": {"beta": f"0.{number:02}"}})), name=f"sweep-{number}"))
        for number in range(1, 21)
    ]
    distinct = {stage.name: {made.stage(stage.name).key for made in plans} for stage in plans[0].stages}
    assert {name: len(found) for name, found in distinct.items()} == {
        "feedback-model": 1,
        "synthesis": 1,
        "policy": 20,
        "evaluation": 20,
    }
