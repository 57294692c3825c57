"""The plan: which stages, from what, in which order, and what cannot be planned."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from boresight_api.base import Contract, FieldClass, field_class
from boresight_api.enums import SftTarget
from boresight_api.kinds import AlignmentRun
from boresight_api.manifest import parse_manifest
from boresight_api.pins import Pin
from boresight_api.plan import Plan, plan, sources
from boresight_api.problems import PlanError
from boresight_api.resolve import resolve, resolved_manifest
from boresight_api.stages import (
    DpoConfig,
    EvaluateConfig,
    HoldoutSplit,
    SftConfig,
    SynthesisConfig,
    inputs_of,
    stage_key,
)
from builders_manifests import (
    DIGEST,
    FEEDBACK,
    GOLDEN,
    KEY,
    EverythingPinned,
    a_synthesis,
    an_alignment_run,
    an_eval_run,
    planned,
)

WARM = {"data": [{"uri": "file:///data/dialogues.jsonl", "format": "Jsonl"}]}
PAIRWISE = {"name": "Pairwise", "judge": {"uri": "hf://a/judge"}}


def names(found: Plan) -> list[str]:
    return [stage.name for stage in found.stages]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (an_alignment_run(), ["feedback-model", "synthesis", "policy", "evaluation"]),
        (an_alignment_run(warmStart=WARM), ["warm-start", "feedback-model", "synthesis", "policy", "evaluation"]),
        (an_alignment_run(method={"feedback": "Binary"}), ["policy"]),
        (
            an_alignment_run(method={"feedback": "Binary"}, evaluation={"suites": [{"name": "Verifiable"}]}),
            ["policy", "evaluation"],
        ),
        (a_synthesis(), ["synthesis"]),
        (an_eval_run(), ["evaluation"]),
    ],
)
def test_the_stages_of_a_run(document: dict[str, Any], expected: list[str]) -> None:
    assert names(planned(document)) == expected


def test_the_parents_of_each_stage() -> None:
    found = planned(an_alignment_run(warmStart=WARM))
    assert {stage.name: stage.parents for stage in found.stages} == {
        "warm-start": (),
        "feedback-model": (),
        "synthesis": ("warm-start", "feedback-model"),
        "policy": ("warm-start", "synthesis"),
        "evaluation": ("policy", "warm-start", "feedback-model"),
    }


def test_parents_are_known_before_keys_are() -> None:
    run = parse_manifest(an_alignment_run(warmStart=WARM))
    assert [stage.parents for stage in plan(run).stages] == [
        stage.parents for stage in plan(run, EverythingPinned()).stages
    ]


def test_the_key_of_a_stage_flows_into_those_that_read_it() -> None:
    found = planned(an_alignment_run(warmStart=WARM))
    made = {stage.key: stage.name for stage in found.stages}
    for stage in found.stages:
        assert stage.key == stage_key(stage.config, stage.recipe_version)
        read = [made[value.key] for _, value in inputs_of(stage.config) if value.key is not None]
        assert tuple(dict.fromkeys(read)) == stage.parents
        assert all(value.uri == f"artifact://{value.key}" for _, value in inputs_of(stage.config) if value.key)


def test_before_prepare_no_key_is_known_and_no_digest_of_the_plan() -> None:
    found = plan(parse_manifest(an_alignment_run()))
    assert [stage.key for stage in found.stages] == [None] * 4
    assert found.digest is None


def test_a_stage_without_unpinned_sources_before_it_has_its_key() -> None:
    document = an_alignment_run(warmStart=WARM)
    run = parse_manifest(document)
    known = {source.name: source.id for source in sources(run)}
    pins = {known[name]: Pin(id=known[name], digest=DIGEST) for name in ("model", "warm-start")}
    assert [stage.name for stage in plan(run, pins).stages if stage.key] == ["warm-start"]


def test_a_digest_in_the_manifest_needs_no_pin() -> None:
    document = an_alignment_run(model={"digest": DIGEST}, data={"feedback": [{**FEEDBACK, "digest": DIGEST}]})
    found = plan(parse_manifest(document))
    assert all(stage.key for stage in found.stages)
    assert [source.digest for source in found.sources] == [DIGEST, DIGEST]


def test_sources_are_named_by_their_first_role_and_listed_once() -> None:
    document = an_alignment_run(
        warmStart=WARM,
        data={
            "feedback": [FEEDBACK, {**FEEDBACK, "uri": "file:///b.jsonl"}, {**FEEDBACK, "split": "val"}],
            "holdout": [{"uri": "file:///c.jsonl"}],
            "prompts": [{"uri": "file:///b.jsonl"}],
        },
        feedbackModel={"model": {"uri": "hf://a/critic", "revision": "main"}},
        evaluation={"suites": [{"name": "Holdout"}, PAIRWISE, {"name": "Verifiable", "data": [{"uri": "file:///d"}]}]},
    )
    found = sources(parse_manifest(document))
    assert [(source.name, source.uri) for source in found] == [
        ("model", "hf://Qwen/Qwen2.5-0.5B-Instruct"),
        ("warm-start", "file:///data/dialogues.jsonl"),
        ("feedback", "file:///data/feedback.jsonl"),
        ("feedback-2", "file:///b.jsonl"),
        ("feedback-model", "hf://a/critic"),
        ("holdout", "file:///c.jsonl"),
        ("judge", "hf://a/judge"),
        ("suite", "file:///d"),
    ]
    assert len({source.id for source in found}) == len(found)


def test_an_artifact_of_a_key_is_no_source() -> None:
    document = an_alignment_run(model={"uri": f"artifact://{KEY}"})
    found = plan(parse_manifest(document))
    assert [source.name for source in found.sources] == ["feedback"]
    config = found.stage("feedback-model").config
    assert isinstance(config, SftConfig)
    assert config.model.key == KEY


def test_a_tag_is_pinned_to_a_key() -> None:
    document = an_eval_run(judge={"uri": "artifact://tags/judge-v3"}, suites=[{"name": "Pairwise", "data": [FEEDBACK]}])
    run = parse_manifest(document)
    tag = next(source for source in sources(run) if source.name == "judge")
    config = plan(run, {tag.id: Pin(id=tag.id, key="e" * 64)}).stage("evaluation").config
    assert isinstance(config, EvaluateConfig)
    judge = config.suites[0].judge
    assert judge is not None
    assert (judge.uri, judge.key, judge.digest) == (f"artifact://{'e' * 64}", "e" * 64, None)


def test_the_pinned_revision_is_what_is_read() -> None:
    config = planned(an_alignment_run(model={"revision": "main"})).stage("feedback-model").config
    assert isinstance(config, SftConfig)
    assert config.model.revision == "c" * 40


def test_without_a_holdout_the_same_rows_are_set_aside_everywhere() -> None:
    found = planned(an_alignment_run())
    feedback_model, synthesis, evaluation = (
        found.stage(n).config for n in ("feedback-model", "synthesis", "evaluation")
    )
    assert isinstance(feedback_model, SftConfig)
    assert isinstance(synthesis, SynthesisConfig)
    assert isinstance(evaluation, EvaluateConfig)
    split = HoldoutSplit(percent=Decimal(2), max_rows=1000)
    assert feedback_model.holdout == synthesis.holdout == evaluation.suites[0].holdout == split
    assert feedback_model.data == synthesis.prompts == evaluation.suites[0].data
    assert feedback_model.seed == synthesis.seed == evaluation.seed == 42


def test_a_named_holdout_is_evaluated_and_nothing_is_set_aside() -> None:
    found = planned(an_alignment_run(data={"holdout": [{"uri": "file:///val.jsonl"}]}))
    feedback_model, synthesis, evaluation = (
        found.stage(n).config for n in ("feedback-model", "synthesis", "evaluation")
    )
    assert isinstance(feedback_model, SftConfig)
    assert isinstance(synthesis, SynthesisConfig)
    assert isinstance(evaluation, EvaluateConfig)
    assert feedback_model.holdout is synthesis.holdout is evaluation.suites[0].holdout is None
    assert [value.uri for value in evaluation.suites[0].data] == ["file:///val.jsonl"]
    assert evaluation.suites[0].data[0].format == "Jsonl", "read as the first feedback entry is"


def test_prompts_of_their_own_are_used_whole() -> None:
    found = planned(an_alignment_run(data={"prompts": [{"uri": "file:///prompts.jsonl"}]}))
    synthesis, feedback_model = found.stage("synthesis").config, found.stage("feedback-model").config
    assert isinstance(synthesis, SynthesisConfig)
    assert isinstance(feedback_model, SftConfig)
    assert [value.uri for value in synthesis.prompts] == ["file:///prompts.jsonl"]
    assert synthesis.holdout is None
    assert feedback_model.holdout is not None


def test_the_policy_is_compared_with_the_initial_and_the_warm_started_model() -> None:
    config = planned(an_alignment_run(warmStart=WARM)).stage("evaluation").config
    assert isinstance(config, EvaluateConfig)
    assert config.candidate.name == "policy"
    assert [baseline.name for baseline in config.baselines] == ["initial", "warm-start"]


def test_what_follows_the_warm_start_starts_from_it_but_for_the_feedback_model() -> None:
    found = planned(an_alignment_run(warmStart=WARM))
    warm = found.stage("warm-start")
    feedback_model, synthesis, policy = (found.stage(n).config for n in ("feedback-model", "synthesis", "policy"))
    assert isinstance(warm.config, SftConfig)
    assert isinstance(feedback_model, SftConfig)
    assert isinstance(synthesis, SynthesisConfig)
    assert isinstance(policy, DpoConfig)
    assert (warm.config.target, feedback_model.target) == (SftTarget.RESPONSE, SftTarget.CRITIQUE)
    assert feedback_model.model == warm.config.model
    assert synthesis.model.key == policy.model.key == warm.key


def test_a_model_that_a_stage_made_is_talked_to_as_the_one_it_came_from() -> None:
    model = {"chatTemplate": "{{ messages }}", "systemPrompt": "Be brief.", "trustRemoteCode": "Always"}
    config = planned(an_alignment_run(model=model)).stage("evaluation").config
    assert isinstance(config, EvaluateConfig)
    for named in (config.candidate, *config.baselines):
        assert named.model.chat_template == "{{ messages }}"
        assert named.model.system_prompt == "Be brief."
        assert named.model.trust_remote_code == "Always"


def test_binary_feedback_trains_the_policy_on_the_preferences_themselves() -> None:
    config = planned(an_alignment_run(method={"feedback": "Binary"})).stage("policy").config
    assert isinstance(config, DpoConfig)
    assert config.pairs is None
    assert [value.uri for value in config.data] == [FEEDBACK["uri"]]
    assert config.holdout == HoldoutSplit(percent=Decimal(2), max_rows=1000)


@pytest.mark.parametrize(
    ("training", "tuning", "rate", "rank"),
    [
        ({}, "LoRA", "0.0001", 16),
        ({"tuning": "Full"}, "Full", "0.00001", None),
        ({"tuning": "Full", "learningRate": "3e-6"}, "Full", "0.000003", None),
        ({"lora": {"rank": 4}}, "LoRA", "0.0001", 4),
    ],
)
def test_the_learning_rate_follows_from_stage_and_tuning(
    training: dict[str, Any], tuning: str, rate: str, rank: int | None
) -> None:
    config = planned(an_alignment_run(feedbackModel={"training": training})).stage("feedback-model").config
    assert isinstance(config, SftConfig)
    found = config.training
    assert (found.tuning, found.learning_rate) == (tuning, Decimal(rate))
    assert (found.lora.rank if found.lora else None) == rank


def test_adapters_make_the_policy_lora_with_its_own_learning_rate() -> None:
    config = planned(an_alignment_run(policy={"training": {"lora": {}}})).stage("policy").config
    assert isinstance(config, DpoConfig)
    assert (config.training.tuning, config.training.learning_rate) == ("LoRA", Decimal("0.00001"))


@pytest.mark.parametrize(
    ("limit", "rows", "percent"), [(400, 400, None), ("400", 400, None), ("25%", None, "25"), ("2.5%", None, "2.5")]
)
def test_a_limit_is_rows_or_a_share(limit: object, rows: int | None, percent: str | None) -> None:
    document = an_alignment_run(data={"feedback": [{**FEEDBACK, "limit": limit}]})
    config = planned(document).stage("feedback-model").config
    assert isinstance(config, SftConfig)
    assert config.data[0].limit == rows
    assert config.data[0].limit_percent == (None if percent is None else Decimal(percent))


def test_align_anythings_subset_follows_from_the_task() -> None:
    config = planned(an_alignment_run(data={"feedback": [{"uri": "hf://datasets/a/b"}]})).stage("feedback-model").config
    assert isinstance(config, SftConfig)
    assert (config.data[0].format, config.data[0].subset) == ("AlignAnything", "text-to-text")


def test_an_endpoint_makes_a_stage_unpinned() -> None:
    suite = {"name": "Pairwise", "judge": {"endpoint": "https://x/v1", "model": "m", "revision": "may"}}
    found = planned(an_alignment_run(evaluation={"suites": [suite]}))
    assert [stage.name for stage in found.stages if stage.unpinned] == ["evaluation"]
    config = found.stage("evaluation").config
    assert isinstance(config, EvaluateConfig)
    assert (config.suites[0].judge_model, config.suites[0].judge_revision) == ("m", "may")


def test_only_a_suite_that_looks_at_critiques_reads_the_feedback_model() -> None:
    found = planned(an_alignment_run(evaluation={"suites": [{"name": "Verifiable"}]}))
    assert found.stage("evaluation").parents == ("policy",)


def test_a_stages_own_compute_lies_over_the_runs() -> None:
    document = an_alignment_run(
        compute={
            "devicesPerNode": 1,
            "tokenBudget": 1000,
            "podTemplate": {"nodeSelector": {"gpu": "a"}, "labels": {"team": "x"}},
        },
        synthesis={"compute": {"devicesPerNode": 0, "podTemplate": {"nodeSelector": {"cpu": "b"}}}},
    )
    found = planned(document)
    policy, synthesis = found.stage("policy").compute, found.stage("synthesis").compute
    assert (policy.devices_per_node, synthesis.devices_per_node) == (1, 0)
    assert synthesis.token_budget == 1000
    assert synthesis.pod_template is not None
    assert (synthesis.pod_template.node_selector, synthesis.pod_template.labels) == ({"cpu": "b"}, {"team": "x"})


def test_checkpoints_are_the_policys() -> None:
    found = planned(an_alignment_run(policy={"checkpoint": {"everySeconds": 60}}))
    assert found.stage("policy").checkpoint.every_seconds == 60
    assert found.stage("feedback-model").checkpoint.every_seconds is None


@pytest.mark.parametrize(
    ("stop_after", "name"),
    [(None, None), ("Prepare", "prepare"), ("FeedbackModel", "feedback-model"), ("Policy", "policy")],
)
def test_a_run_can_be_held_after_a_stage(stop_after: str | None, name: str | None) -> None:
    assert planned(an_alignment_run(stopAfter=stop_after)).stop_after == name


def test_the_recipe_of_the_first_plan_stays_unless_the_manifest_names_one() -> None:
    run = parse_manifest(an_alignment_run())
    assert plan(run, recipe="1").recipe == "1"
    with pytest.raises(PlanError, match=r'spec.recipe: found "7", expected one of "1"'):
        plan(run, recipe="7")
    named = parse_manifest(an_alignment_run(recipe="1"))
    assert plan(named, recipe="7").recipe == "1"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (an_alignment_run(task="TextImageToText"), 'spec.task: found "TextImageToText", expected TextToText'),
        (an_alignment_run(method={"algorithm": "PPO"}), 'spec.method.algorithm: found "PPO", expected DPO'),
        (an_alignment_run(synthesis={"engine": "VLLM"}), 'spec.synthesis.engine: found "VLLM", expected Transformers'),
        (an_eval_run(engine="VLLM"), 'spec.engine: found "VLLM", expected Transformers'),
        (an_alignment_run(synthesis={"filters": {"acceptance": "Judge"}}), "spec.synthesis.filters.acceptance: found"),
        (an_alignment_run(compute={"nodes": 2}), "spec.compute.nodes: found 2, expected 1"),
        (an_alignment_run(policy={"compute": {"devicesPerNode": 8}}), "spec.policy.compute.devicesPerNode: found 8"),
        (
            an_alignment_run(compute={"strategy": "FSDP2"}),
            'spec.compute.strategy: found "FSDP2", expected Auto or Single',
        ),
        (an_alignment_run(model={"uri": "pvc://c/model"}), 'spec.model.uri: found "pvc://c/model", expected hf://'),
        (
            an_alignment_run(model={"uri": "s3://b/../model"}),
            'spec.model.uri: found "s3://b/../model", expected s3://<bucket>/<path>, name the place itself',
        ),
        (
            an_alignment_run(model={"uri": "file:model"}),
            'spec.model.uri: found "file:model", expected file:///absolute',
        ),
        (an_alignment_run(stopAfter="WarmStart"), 'spec.stopAfter: found "WarmStart", expected a stage of this run: '),
        (an_alignment_run(evaluation={"suites": [{"name": "AMU"}]}), 'spec.evaluation.suites[0].name: found "AMU"'),
        (
            an_alignment_run(evaluation={"suites": [{"name": "Pairwise"}]}),
            "spec.evaluation.suites[0].judge: found nothing",
        ),
        (
            an_alignment_run(evaluation={"suites": [{**PAIRWISE, "name": "Verifiable"}]}),
            "spec.evaluation.suites[0].judge: found a judge, expected none",
        ),
        (
            an_alignment_run(evaluation={"suites": [{"name": "Holdout", "holdoutSplit": {}}]}),
            "spec.evaluation.suites[0].holdoutSplit: found a split",
        ),
        (
            an_alignment_run(method={"feedback": "Binary"}, evaluation={"suites": [{"name": "Holdout"}]}),
            'spec.evaluation.suites[0].name: found "Holdout", expected Verifiable or Pairwise',
        ),
        (
            an_alignment_run(evaluation={"suites": [{"name": "Verifiable", "data": [{**FEEDBACK, "weight": 2}]}]}),
            "spec.evaluation.suites[0].data[0].weight: found 2, expected 1",
        ),
        (an_eval_run(suites=[{"name": "Verifiable"}]), "spec.suites[0].data: found nothing"),
        (an_eval_run(suites=[{"name": "Holdout", "data": [FEEDBACK]}]), "spec.feedbackModel: found nothing"),
        (
            an_eval_run(suites=[{**PAIRWISE, "data": [FEEDBACK]}], baselines=[]),
            "spec.baselines: found nothing, expected at least one model",
        ),
        (
            an_alignment_run(data={"feedback": [{**FEEDBACK, "uri": f"file:///{n}.jsonl"} for n in range(16)]}),
            "spec: found 17 different sources, expected at most 16",
        ),
    ],
)
def test_what_cannot_be_planned_is_named_by_field(document: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(parse_manifest(document))
    assert message in str(caught.value)


def test_a_store_on_s3_is_no_matter_of_the_plan() -> None:
    assert names(planned(an_alignment_run(storage={"uri": "s3://bucket/prefix"})))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_resolved_manifest_has_the_same_plan_and_resolves_to_itself(name: str) -> None:
    run = parse_manifest(GOLDEN[name])
    document = resolved_manifest(run)
    again = parse_manifest(document)
    assert resolved_manifest(again) == document
    pins = EverythingPinned(distinct=True)
    assert plan(again, pins) == plan(run, pins)


def test_resolving_never_changes_what_the_manifest_says() -> None:
    run = parse_manifest(GOLDEN["synthesis-options"])
    assert isinstance(run, AlignmentRun)
    said = run.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    resolved = resolve(run).spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def contains(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(contains(whole[name], value) for name, value in part.items())
        if isinstance(part, list):
            return all(contains(w, p) for w, p in zip(whole, part, strict=True))
        return bool(whole == part)

    assert contains(resolved, said)


def unset(value: object, path: str) -> list[str]:
    """Semantic fields below ``value`` that nobody set: their class default would decide a result."""
    found = []
    if isinstance(value, Contract):
        for name, field in type(value).model_fields.items():
            item = getattr(value, name)
            if (
                field_class(field) is FieldClass.SEMANTIC
                and name not in value.model_fields_set
                and item not in (None, (), {})
            ):
                found.append(f"{path}.{name}")
            found += unset(item, f"{path}.{name}")
    elif isinstance(value, tuple):
        found = [fault for index, item in enumerate(value) for fault in unset(item, f"{path}[{index}]")]
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_every_default_comes_from_the_recipe_and_none_from_a_class(name: str) -> None:
    for stage in planned(GOLDEN[name]).stages:
        assert unset(stage.config, stage.name) == []
