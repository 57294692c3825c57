"""Keys: what is semantic changes one, what is operational changes none, and a release does not change them all."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

import boresight_api.plan
import pytest
from boresight_api.artifact import ArtifactManifest
from boresight_api.base import (
    Contract,
    FieldClass,
    canonical_json,
    field_class,
    format_decimal,
    models_of,
    parse_decimal,
    semantic,
    semantic_form,
)
from boresight_api.execution import Prepare, Stage
from boresight_api.kinds import KINDS
from boresight_api.outcome import Outcome
from boresight_api.recipe import RECIPES
from boresight_api.spec import AlignmentRunSpec, EvalRunSpec, FeedbackSynthesisSpec
from builders_manifests import (
    DIGEST,
    GOLDEN,
    a_synthesis,
    an_alignment_run,
    an_eval_run,
    keys,
)
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent

# --- Every field of every spec, flipped -----------------------------------------------------------------------------

_MODEL = {
    "uri": "hf://a/model",
    "revision": "main",
    "digest": DIGEST,
    "chatTemplate": "{{ a }}",
    "systemPrompt": "Be brief.",
    "trustRemoteCode": "Never",
}
_DATA = {
    "uri": "hf://datasets/a/b",
    "revision": "main",
    "digest": DIGEST,
    "format": "AlignAnything",
    "subset": "text-to-text",
    "split": "train",
    "files": ["a.parquet"],
    "columns": {"prompt": "question"},
    "weight": "0.25",
    "limit": 400,
}
_SAMPLING = {"temperature": "0.25", "topP": "0.25", "topK": 5, "repetitionPenalty": "0.25", "maxTokens": 64}
_TRAINING = {
    "epochs": 3,
    "learningRate": "0.25",
    "schedule": "Cosine",
    "warmupPercent": "0.25",
    "globalBatch": 16,
    "weightDecay": "0.25",
    "beta1": "0.25",
    "beta2": "0.25",
    "maxGradNorm": "0.25",
    "precision": "FP32",
    "maxLength": 512,
    "lora": {"rank": 4, "alpha": 8, "layers": "All"},
}
_FILTERS = dict.fromkeys(("identical", "truncated", "refusal", "unparsable", "keepIt", "leaked"), "Drop")
_GENERATION = {
    "engine": "Transformers",
    "sampling": _SAMPLING,
    "critiqueSampling": _SAMPLING,
    "batchSize": 8,
    "precision": "FP32",
    "maxLength": 512,
}
_SYNTHESIS = {
    **_GENERATION,
    "refinementSampling": _SAMPLING,
    "samplesPerPrompt": 2,
    "critiquesPerResponse": 2,
    "refineFrom": "Critique",
    "filters": {**_FILTERS, "minTokens": 2, "acceptance": "None"},
}
_TERM = {
    "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
    "matchFields": [{"key": "a", "operator": "In", "values": ["b"]}],
}
_SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
_NEAR = {"labelSelector": _SELECTOR, "topologyKey": "a", "matchLabelKeys": ["a"]}
_PODS = {
    "requiredDuringSchedulingIgnoredDuringExecution": [_NEAR],
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": _NEAR}],
}
_NODES = {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_TERM]},
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": _TERM}],
}
_REFERENCE = {"name": "a", "key": "b", "optional": True}
_FILES = {"items": [{"key": "a", "path": "b", "mode": 256}], "defaultMode": 256, "optional": True}
_PLACEMENT = {
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5}],
    "priorityClassName": "a",
    "runtimeClassName": "a",
    "image": "registry/image:1",
}
_POD_TEMPLATE = {
    **_PLACEMENT,
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "affinity": {"nodeAffinity": _NODES, "podAffinity": _PODS, "podAntiAffinity": _PODS},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "a",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": _SELECTOR,
            "minDomains": 2,
            "matchLabelKeys": ["a"],
        }
    ],
    "imagePullSecrets": [{"name": "a"}],
    "env": [
        {"name": "A", "value": "b"},
        {"name": "B", "valueFrom": {"configMapKeyRef": _REFERENCE, "secretKeyRef": _REFERENCE}},
    ],
    "volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b", "readOnly": True}],
    "volumes": [
        {"name": "a", "configMap": {"name": "a", **_FILES}},
        {"name": "b", "secret": {"secretName": "a", **_FILES}},
        {"name": "c", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "a", "readOnly": True}},
        {
            "name": "e",
            "csi": {
                "driver": "a",
                "fsType": "ext4",
                "readOnly": True,
                "volumeAttributes": {"a": "b"},
                "nodePublishSecretRef": {"name": "a"},
            },
        },
    ],
}
_STAGE_COMPUTE = {
    "nodes": 2,
    "devicesPerNode": 4,
    "strategy": "DDP",
    "tokenBudget": 4096,
    "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}},
    "queueName": "a",
    "workloadPriorityClassName": "a",
    "shmSize": "1Gi",
    "podTemplate": _PLACEMENT,
}
_OPERATIONAL = {
    "compute": {
        **_STAGE_COMPUTE,
        "podTemplate": _POD_TEMPLATE,
        "caBundle": {"configMapName": "a", "key": "b"},
        "proxy": {"httpProxy": "http://a", "httpsProxy": "http://a", "noProxy": "b"},
    },
    "storage": {
        "uri": "s3://a/b",
        "endpoint": "https://a",
        "secretName": "a",
        "readFrom": [{"uri": "s3://a/c", "endpoint": "https://a", "secretName": "a"}],
    },
    "hub": {"endpoint": "https://a", "secretName": "a"},
    "retry": {"infrastructure": 3, "error": 2},
    "timeouts": {"startSeconds": 60, "stageSeconds": 60},
    "retainPodsSeconds": 60,
    "suspend": False,
}
_COMMON = {"recipe": "1", "seed": 5, "task": "TextToText", **_OPERATIONAL}
_JUDGE = {"uri": "hf://a/judge", "digest": DIGEST, "chatTemplate": "{{ a }}"}
_ENDPOINT = {"endpoint": "https://a/v1", "model": "m", "revision": "1", "secretName": "a"}
_SPLIT = {"percent": "0.25", "maxRows": 50}
_SUITE = {"label": "a", "data": [_DATA], "maxPrompts": 50}

EVERYTHING: dict[str, dict[str, Any]] = {
    "language": an_alignment_run(
        **_COMMON,
        method={"algorithm": "DPO"},
        model=_MODEL,
        data={"feedback": [_DATA], "holdoutSplit": _SPLIT, "prompts": [_DATA], "maxInvalidPercent": "0.25"},
        warmStart={"data": [_DATA], "training": _TRAINING, "compute": _STAGE_COMPUTE},
        feedbackModel={"model": _MODEL, "training": _TRAINING, "compute": _STAGE_COMPUTE},
        synthesis={**_SYNTHESIS, "compute": _STAGE_COMPUTE},
        policy={
            "training": _TRAINING,
            "dpo": {"beta": "0.25", "loss": "IPO"},
            "checkpoint": {"everySeconds": 60, "keep": 3},
            "compute": _STAGE_COMPUTE,
        },
        evaluation={
            **_GENERATION,
            "suites": [{**_SUITE, "name": "Pairwise", "judge": _JUDGE}, {"name": "Holdout"}],
            "compute": _STAGE_COMPUTE,
        },
        export={"form": "Merged", "precision": "BF16"},
        stopAfter="Policy",
    ),
    "endpoint": an_alignment_run(
        data={"holdout": [_DATA]}, evaluation={"suites": [{"name": "Pairwise", "judge": _ENDPOINT}]}
    ),
    "method": an_alignment_run(method={"feedback": "Language"}),
    "tuning": an_alignment_run(policy={"training": {"tuning": "Full"}}),
    "synthesis": a_synthesis(
        **_COMMON,
        **_SYNTHESIS,
        model=_MODEL,
        feedbackModel=_MODEL,
        prompts=[_DATA],
        holdoutSplit=_SPLIT,
        maxInvalidPercent="0.25",
    ),
    "evaluation": an_eval_run(
        **_COMMON,
        **_GENERATION,
        candidate={**_MODEL, "name": "one"},
        baselines=[{**_MODEL, "name": "two"}],
        feedbackModel=_MODEL,
        suites=[{**_SUITE, "name": "Holdout", "holdoutSplit": _SPLIT}, {"name": "Pairwise", "data": [_DATA]}],
        judge=_JUDGE,
        maxInvalidPercent="0.25",
    ),
}
"""Manifests that between them set every field of every spec."""

NOT_PLANNED_YET = {
    ("Method", "algorithm"),  # PPO and what goes with it: the plan refuses them
    ("RewardModelSpec", "centring"),
    ("RewardSpec", "verifier"),
    *(
        ("PPOSpec", name)
        for name in (
            "rollout_batch",
            "mini_epochs",
            "kl_coefficient",
            "kl_target",
            "clip_ratio",
            "clip_value",
            "gamma",
            "gae_lambda",
            "critic_learning_rate",
            "ptx_coefficient",
            "truncation_penalty",
        )
    ),
}

OTHER_TEXT = {
    "uri": {"hf": "hf://a/other", "s3": "s3://a/other", "file": "file:///other"},
    "digest": "sha256:" + "cd" * 32,
    "endpoint": "https://other",
    "mountPath": "/other",
    "learningRate": "0.5",
}


def holds_model(annotation: Any) -> type[Contract] | None:
    """The contract model inside an annotation, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, Contract):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple):
        return next((found for part in get_args(annotation) if (found := holds_model(part))), None)
    return None


Leaf = tuple[str, str, FieldClass, tuple[str | int, ...]]


def leaves(model: type[Contract], document: Any, path: tuple[str | int, ...]) -> Iterator[Leaf]:
    """(class, field, its division, path) of every value of ``document``, which is one of ``model``."""
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if alias not in document:
            continue
        inner, value = holds_model(field.annotation), document[alias]
        division = field_class(field)
        assert division is not None
        if inner is None:
            owner = next(base for base in reversed(model.__mro__) if name in getattr(base, "model_fields", {}))
            yield owner.__name__, name, division, (*path, alias)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from leaves(inner, item, (*path, alias, index))
        else:
            yield from leaves(inner, value, (*path, alias))


SPECS = {"AlignmentRun": AlignmentRunSpec, "FeedbackSynthesis": FeedbackSynthesisSpec, "EvalRun": EvalRunSpec}
FLIPS = [
    (base, *leaf)
    for base, document in EVERYTHING.items()
    for leaf in leaves(SPECS[document["kind"]], document["spec"], ("spec",))
]


def another(alias: str, value: Any, annotation: Any) -> Any:
    """A legal value that differs from ``value``."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, StrEnum):
            members = [member.value for member in option]
            return members[(members.index(value) + 1) % len(members)] if len(members) > 1 else None
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case list():
            return [*value, "z"]
        case dict():
            return {name: f"{item[:-2]}9Gi" if item.endswith("Gi") else "7" for name, item in value.items()}
    if alias == "uri":
        return OTHER_TEXT["uri"][value.partition(":")[0]]
    if alias in OTHER_TEXT:
        return OTHER_TEXT[alias]
    if value == "0.25":
        return "0.5"
    return "2" if value == "1" else value.replace("1Gi", "2Gi") if value == "1Gi" else f"{value}z"


def flipped(document: dict[str, Any], path: tuple[str | int, ...], annotation: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    holder: Any = result
    for part in path[:-1]:
        holder = holder[part]
    alias = str(path[-1])
    value = another(alias, holder[alias], annotation)
    if value is None:
        del holder[alias]
    else:
        holder[alias] = value
    return result


@pytest.fixture
def everything_runnable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this release ran all that the API has, and had a second recipe version."""
    monkeypatch.setattr(boresight_api.plan, "unrunnable", lambda run: [])
    stages = MappingProxyType({name: version + 1 for name, version in RECIPES["1"].stages.items()})
    monkeypatch.setitem(RECIPES, "2", replace(RECIPES["1"], stages=stages))


BASE_KEYS: dict[str, dict[str, str]] = {}


@pytest.mark.usefixtures("everything_runnable")
@pytest.mark.parametrize(
    ("base", "owner", "name", "division", "path"),
    FLIPS,
    ids=[f"{flip[0]}:{'.'.join(map(str, flip[4][1:]))}" for flip in FLIPS],
)
def test_semantic_fields_change_a_key_and_operational_ones_none(
    base: str, owner: str, name: str, division: FieldClass, path: tuple[str | int, ...]
) -> None:
    if (owner, name) in NOT_PLANNED_YET:
        pytest.skip("the plan refuses it")
    if base not in BASE_KEYS:
        BASE_KEYS[base] = keys(EVERYTHING[base])
    annotation = MODELS[owner].model_fields[name].annotation
    changed = keys(flipped(EVERYTHING[base], path, annotation))
    if division is FieldClass.SEMANTIC:
        assert changed != BASE_KEYS[base], "a semantic field changes at least one key"
    else:
        assert changed == BASE_KEYS[base], "an operational field changes no key"


MODELS = {model.__name__: model for spec in SPECS.values() for model in models_of(spec)} | {
    base.__name__: base
    for spec in SPECS.values()
    for model in models_of(spec)
    for base in model.__mro__
    if isinstance(base, type) and issubclass(base, Contract)
}


def test_every_field_of_every_spec_is_flipped() -> None:
    wanted = set()
    for spec in SPECS.values():
        for model in models_of(spec):
            for name, field in model.model_fields.items():
                if holds_model(field.annotation) is None:
                    owner = next(base for base in reversed(model.__mro__) if name in getattr(base, "model_fields", {}))
                    wanted.add((owner.__name__, name))
    assert wanted - {(owner, name) for _, owner, name, _, _ in FLIPS} - NOT_PLANNED_YET == set()


# --- Classes of fields ----------------------------------------------------------------------------------------------

ALL_MODELS = sorted(
    {model for root in (*KINDS, Stage, Prepare, Outcome, ArtifactManifest) for model in models_of(root)},
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
def test_every_field_says_whether_it_is_semantic(model: type[Contract]) -> None:
    assert [name for name, field in model.model_fields.items() if field_class(field) is None] == []


def test_nothing_below_an_operational_field_claims_to_be_semantic() -> None:
    def faults(model: type[Contract], *, operational: bool, path: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            below = operational or field_class(field) is FieldClass.OPERATIONAL
            if operational and field_class(field) is FieldClass.SEMANTIC:
                yield f"{path}.{name}"
            inner = holds_model(field.annotation)
            if inner is not None:
                yield from faults(inner, operational=below, path=f"{path}.{name}")

    found = [fault for spec in SPECS.values() for fault in faults(spec, operational=False, path=spec.__name__)]
    assert found == []


# --- Canonical forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spellings",
    [("2e-5", "0.00002", "0.000020", "2E-05", "20e-6"), ("0.1", "0.10", "1e-1"), (1, "1", "1.0", "1e0", "0.1e1")],
)
def test_the_spelling_of_a_decimal_does_not_matter(spellings: tuple[str | int, ...]) -> None:
    found = {canonical_json(keys(an_alignment_run(policy={"dpo": {"beta": spelling}}))) for spelling in spellings}
    assert len(found) == 1


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 9), st.integers(0, 8))
def test_one_number_has_one_form_and_no_two_share_it(digits: int, exponent: int, zeros: int) -> None:
    value = Decimal(digits).scaleb(-exponent)
    text = format_decimal(value)
    assert parse_decimal(text) == value
    assert format_decimal(parse_decimal(f"{text}{'.' if '.' not in text else ''}{'0' * zeros}0")) == text


def test_numbers_that_differ_in_the_last_of_36_digits_differ() -> None:
    one, other = f"{'1' * 18}.{'1' * 18}", f"{'1' * 18}.{'1' * 17}2"
    assert format_decimal(parse_decimal(one)) != format_decimal(parse_decimal(other))


@pytest.mark.parametrize("value", ["", " 1", "1\n", "1_000", "0x1", "nan", "inf", "1e100", ".5", "１"])
def test_what_is_no_decimal_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="expected a decimal such as"):
        parse_decimal(value)


def test_a_field_at_its_neutral_value_is_as_if_it_did_not_exist() -> None:
    class Before(Contract):
        seed: int = semantic(1)

    class After(Before):
        smoothing: int = semantic(0, neutral=0)

    assert semantic_form(After()) == semantic_form(Before())
    assert semantic_form(After(smoothing=1)) != semantic_form(Before())


def test_canonical_json_is_one_byte_string_and_has_no_floats() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()
    with pytest.raises(TypeError, match="has no canonical form"):
        canonical_json({"a": [0.1]})


# --- The three kinds share keys -------------------------------------------------------------------------------------

TEMPERATURES = st.sampled_from(["0", "0.7", 1])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**53),
    samples=st.integers(1, 4),
    temperature=TEMPERATURES,
    percent=st.integers(1, 50),
    prompts=st.booleans(),
)
def test_a_feedback_synthesis_has_the_key_of_a_runs_synthesis(
    seed: int, samples: int, temperature: str, percent: int, prompts: bool
) -> None:
    options = {"samplesPerPrompt": samples, "sampling": {"temperature": temperature}}
    own = [{"uri": "file:///prompts.jsonl", "format": "Jsonl"}]
    data = {"holdoutSplit": {"percent": percent}, **({"prompts": own} if prompts else {})}
    run = keys(an_alignment_run(seed=seed, data=data, synthesis=options), distinct=True)
    alone = a_synthesis(
        seed=seed,
        feedbackModel={"uri": f"artifact://{run['feedback-model']}"},
        **options,
        **({"prompts": own} if prompts else {"holdoutSplit": {"percent": percent}}),
    )
    assert keys(alone, distinct=True) == {"synthesis": run["synthesis"]}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**53), temperature=TEMPERATURES, percent=st.integers(1, 50), warm=st.booleans())
def test_an_eval_run_has_the_key_of_a_runs_evaluation(seed: int, temperature: str, percent: int, warm: bool) -> None:
    feedback = an_alignment_run()["spec"]["data"]["feedback"]
    judged = {"name": "Pairwise", "judge": {"uri": "hf://a/judge"}}
    sampling = {"temperature": temperature}
    run = keys(
        an_alignment_run(
            seed=seed,
            data={"holdoutSplit": {"percent": percent}},
            evaluation={"suites": [{"name": "Holdout"}, judged], "sampling": sampling},
            **({"warmStart": {"data": feedback}} if warm else {}),
        ),
        distinct=True,
    )
    split = {"data": feedback, "holdoutSplit": {"percent": percent}}
    model = "hf://Qwen/Qwen2.5-0.5B-Instruct"
    warm_started = [{"uri": f"artifact://{run['warm-start']}", "name": "warm-start"}] if warm else []
    alone = an_eval_run(
        seed=seed,
        candidate={"uri": f"artifact://{run['policy']}", "name": "policy"},
        baselines=[{"uri": model, "name": "initial"}, *warm_started],
        feedbackModel={"uri": f"artifact://{run['feedback-model']}"},
        suites=[{"name": "Holdout", **split}, {"name": "Pairwise", **split}],
        judge=judged["judge"],
        sampling=sampling,
    )
    assert keys(alone, distinct=True) == {"evaluation": run["evaluation"]}


def test_runs_that_differ_in_beta_share_all_but_policy_and_evaluation() -> None:
    found = [keys(an_alignment_run(policy={"dpo": {"beta": f"0.{n}"}})) for n in range(1, 10)]
    shared = {name: len({run[name] for run in found}) for name in found[0]}
    assert shared == {"feedback-model": 1, "synthesis": 1, "policy": 9, "evaluation": 9}


# --- Golden keys ----------------------------------------------------------------------------------------------------


def test_keys_are_those_of_the_releases_before() -> None:
    golden = json.loads((HERE / "golden_keys.json").read_text())
    assert set(golden) == set(RECIPES), "python tests/unit/golden_keys.py adds a new recipe version"
    for version, runs in golden.items():
        assert set(runs) == set(GOLDEN)
        for name, expected in runs.items():
            document = copy.deepcopy(GOLDEN[name])
            document["spec"]["recipe"] = version
            assert keys(document, distinct=True) == expected, f"{name}: add a recipe version to boresight_api/recipe.py"


def test_there_are_twenty_golden_manifests_over_all_kinds() -> None:
    assert len(GOLDEN) >= 20
    assert {document["kind"] for document in GOLDEN.values()} == set(SPECS)
