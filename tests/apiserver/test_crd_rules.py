"""Every CEL rule of every CRD, on the real API server: what it is there to refuse is refused with its message, and what
lies just inside is accepted."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from apiserver.client import ApiError, Client
from apiserver.crds import CRD_FILES
from apiserver.schema_paths import Document, a_manifest, load, rules_of
from boresight_operator.api import RUNS

CRDS = {document["spec"]["names"]["kind"]: document for document in map(load, CRD_FILES)}
RULES = [
    (kind, *rule)
    for kind, crd in CRDS.items()
    for rule in rules_of(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
]
RESOURCES = {resource.kind: resource for resource in RUNS}
NUMBER = re.compile(r"double\(self\) (>=?) ([\d.]+) && double\(self\) <= ([\d.]+)")
SUITE = {"name": "Verifiable", "data": [{"uri": "file:///data/eval.jsonl", "format": "Jsonl"}]}
PPO = {"algorithm": "PPO"}
BINARY = {"feedback": "Binary"}
URI = {"uri": "hf://a/b"}
ENDPOINT = {"endpoint": "https://x/v1", "model": "m"}

TABLE: dict[str, tuple[list[Any], list[Any]]] = {
    "rewardModel goes with method.algorithm PPO": (
        [{"rewardModel": {}, "method": PPO}],
        [{"rewardModel": {}}, {"rewardModel": {}, "method": {"algorithm": "DPO"}}],
    ),
    "policy.ppo goes with method.algorithm PPO": (
        [{"policy": {"ppo": {}}, "method": PPO}],
        [{"policy": {"ppo": {}}}, {"policy": {"ppo": {}}, "method": BINARY}],
    ),
    "policy.dpo goes with method.algorithm DPO": (
        [{"policy": {"dpo": {}}}, {"policy": {"dpo": {}}, "method": {"algorithm": "DPO"}}],
        [{"policy": {"dpo": {}}, "method": PPO}],
    ),
    "expected rewardModel or policy.ppo.reward, not both": (
        [{"policy": {"ppo": {"reward": {"verifier": "v"}}}, "method": PPO}],
        [{"rewardModel": {}, "policy": {"ppo": {"reward": {"verifier": "v"}}}, "method": PPO}],
    ),
    "feedbackModel goes with method.feedback Language": (
        [{"feedbackModel": {}}, {"feedbackModel": {}, "method": {"feedback": "Language"}}],
        [{"feedbackModel": {}, "method": BINARY}],
    ),
    "synthesis goes with method.feedback Language": ([{"synthesis": {}}], [{"synthesis": {}, "method": BINARY}]),
    "names are cpu, memory, ephemeral-storage": (
        [{"cpu": "1", "memory": "1Gi", "ephemeral-storage": 1}],
        [{"gpu": 1}, {"cpu": 1, "nvidia.com/gpu": 1}],
    ),
    "BORESIGHT_*, LD_*, PYTHON*, MASTER_* and RANK are reserved": (
        [{"name": "RANKS", "value": "1"}, {"name": "OLD_PATH", "value": "1"}],
        [{"name": name, "value": "1"} for name in ("BORESIGHT_X", "LD_PRELOAD", "PYTHONPATH", "MASTER_ADDR", "RANK")],
    ),
    "expected value or valueFrom, not both": (
        [{"name": "A", "value": "1"}, {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    ),
    "expected exactly one of configMap, secret, emptyDir, persistentVolumeClaim, csi": (
        [{"name": "v", "emptyDir": {}}, {"name": "v", "configMap": {"name": "c"}}],
        [{"name": "v"}, {"name": "v", "emptyDir": {}, "configMap": {"name": "c"}}],
    ),
    "expected holdout or holdoutSplit, not both": (
        [{"holdoutSplit": {}}, {"holdout": [{"uri": "file:///h"}]}],
        [{"holdoutSplit": {}, "holdout": [{"uri": "file:///h"}]}],
    ),
    "names are id, prompt, messages, response, critique, advice, refined_response, chosen, rejected, constraints, "
    "images, audios, videos": (
        [{"prompt": "question", "refined_response": "better"}],
        [{"refinement": "x"}, {"prompt": "x", "Prompt": "y"}],
    ),
    "lora goes with tuning LoRA": (
        [{"lora": {}}, {"lora": {}, "tuning": "LoRA"}, {"tuning": "Full"}],
        [{"lora": {}, "tuning": "Full"}],
    ),
    "suites need different names: use label": (
        [{"suites": [SUITE, {**SUITE, "label": "second"}]}],
        [{"suites": [SUITE, SUITE]}, {"suites": [SUITE, {**SUITE, "label": "Verifiable"}]}],
    ),
    "expected either uri or endpoint": ([URI, ENDPOINT], [{**URI, **ENDPOINT}, {"model": "m"}]),
    "model and secretName go with endpoint (model is required there), digest and chatTemplate with uri": (
        [{**URI, "chatTemplate": "t"}, {**ENDPOINT, "secretName": "s"}],
        [{"endpoint": "https://x/v1"}, {**URI, "model": "m"}, {**ENDPOINT, "chatTemplate": "t"}],
    ),
    "baselines need different names": (
        [{"baselines": [{**URI, "name": "x"}, {**URI, "name": "y"}]}],
        [{"baselines": [{**URI, "name": "x"}, {**URI, "name": "x"}]}],
    ),
    "a baseline needs another name than the candidate": (
        [{"baselines": [{**URI, "name": "initial"}]}],
        [{"candidate": {**URI, "name": "baseline"}}, {"baselines": [{**URI, "name": "candidate"}]}],
    ),
}
"""Message -> values at the rule's place that are accepted, and that are refused."""


def numbers(low: float, high: float, *, open_below: bool) -> tuple[list[Any], list[Any]]:
    """As integers and as texts; a decimal in a spec is a text."""
    inside = [int(high), f"{high:g}", f"{high / 2:g}", "1e-4"]
    outside = [int(high) + 1, f"{high * 1.5:g}", "2e6"]
    if low == 0 and open_below:
        return inside, [0, "0", "0.0", "-1", *outside]
    return [int(low), *inside], ["-0.5", *outside]


def examples(rule: str, message: str) -> tuple[list[Any], list[Any]]:
    """Accepted and refused values at the rule's place."""
    if found := NUMBER.fullmatch(rule):
        return numbers(float(found[2]), float(found[3]), open_below=found[1] == ">")
    return TABLE[message]


def dry_run(client: Client, document: Document) -> Document:
    """Validated and admitted, not stored."""
    found: Document = client.create(
        RESOURCES[document["kind"]], "default", document, dryRun="All", fieldValidation="Strict"
    )
    return found


def placed(kind: str, path: str, value: Any) -> Document:
    if path != "spec":
        return a_manifest(CRDS[kind], path, copy.deepcopy(value))
    document = a_manifest(CRDS[kind], "", None)
    document["spec"] |= copy.deepcopy(value)
    return document


def test_the_table_has_every_rule() -> None:
    unknown = {
        message for _, path, rule, message in RULES if path and not NUMBER.fullmatch(rule) and message not in TABLE
    }
    assert unknown == set()
    assert set(TABLE) <= {message for _, _, _, message in RULES}
    assert len(RULES) > 100


def test_what_lies_inside_a_rule_is_accepted(client: Client) -> None:
    refused = {}
    for kind, path, rule, message in RULES:
        for value in examples(rule, message)[0] if path else ():
            try:
                dry_run(client, placed(kind, path, value))
            except ApiError as error:
                refused[f"{kind}.{path} = {value}"] = str(error)
    assert refused == {}


def test_what_lies_outside_a_rule_is_refused_with_its_message(client: Client) -> None:
    wrong = {}
    for kind, path, rule, message in RULES:
        for value in examples(rule, message)[1] if path else ():
            try:
                dry_run(client, placed(kind, path, value))
                wrong[f"{kind}.{path} = {value}"] = "accepted"
            except ApiError as error:
                if error.code != 422 or message not in error.message:
                    wrong[f"{kind}.{path} = {value}"] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("kind", CRDS)
@pytest.mark.parametrize(("name", "accepted"), [("a" * 63, True), ("a" * 64, False), ("a.b", False), ("a-1", True)])
def test_names_fit_into_labels_and_host_names(client: Client, kind: str, name: str, accepted: bool) -> None:
    document = a_manifest(CRDS[kind], "", None)
    document["metadata"]["name"] = name
    if accepted:
        assert dry_run(client, document)["metadata"]["name"] == name
        return
    with pytest.raises(ApiError, match=r"metadata\.name: expected") as found:
        dry_run(client, document)
    assert found.value.code == 422
