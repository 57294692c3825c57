"""What is true of every rendered object, and what follows from which field."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
from boresight_api.execution import Execution, Prepare, Stage, StagePart
from boresight_api.outcome import ExitCode, FailureClass
from boresight_api.stages import stage_key
from boresight_operator import names
from boresight_operator.api import CONFIG_MAPS, JOBS, NETWORK_POLICIES, SERVICES, Object
from boresight_operator.objects import render
from boresight_operator.objects.failure_policy import RULES, class_of_rule, pod_failure_policy
from boresight_operator.settings import NamespaceSettings
from boresight_operator.views import PREPARE, Part
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run
from builders_objects import POD_TEMPLATE, SETTINGS, UID, attempt, cases, observed, rendered_job, stored
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_rules import faults

RENDERED = [case for case in cases().values() if case.start is not None]


def pod_of(job: Object) -> dict[str, Any]:
    return dict(job["spec"]["template"]["spec"])


def container_of(job: Object) -> dict[str, Any]:
    (container,) = pod_of(job)["containers"]
    return dict(container)


def environment_of(job: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container_of(job)["env"]}


def job_for(stage: str = "policy", settings: NamespaceSettings = SETTINGS, **spec: Any) -> dict[str, Any]:
    seen = observed(stored(an_alignment_run(**spec)), settings)
    return rendered_job(seen, attempt(seen, stage))


# -- identity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RENDERED)
def test_everything_belongs_to_the_run_and_says_so(case: Any) -> None:
    for resource, body in case.objects():
        meta = body["metadata"]
        assert (body["apiVersion"], body["kind"]) == (resource.api_version, resource.kind)
        assert [
            (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) for owner in meta["ownerReferences"]
        ] == [(UID, True, True)]
        assert meta["labels"].items() >= names.run_labels("first", UID).items()
        assert meta["annotations"][names.SPEC_HASH_ANNOTATION]


@pytest.mark.parametrize("case", RENDERED)
def test_rendering_twice_gives_the_same_objects(case: Any) -> None:
    assert case.objects() == case.objects()


def test_the_job_comes_last_and_all_that_its_pods_need_before_it() -> None:
    ranks = observed(stored(an_alignment_run()), compute={"nodes": 2})
    made = [resource for resource, _ in render(ranks, attempt(ranks, "policy"))]
    assert made == [NETWORK_POLICIES, SERVICES, CONFIG_MAPS, JOBS]


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2},
        {"part": Part.MERGE},
        {"halvings": 1},
    ],
)
def test_the_hash_tells_objects_apart(change: dict[str, Any]) -> None:
    seen = observed(stored(an_alignment_run(synthesis={"compute": {"nodes": 2}})))
    one, other = (
        {body["kind"]: body["metadata"] for _, body in render(seen, attempt(seen, "synthesis", **each))}
        for each in ({}, change)
    )
    kind = "ConfigMap"
    hashes = [meta[kind]["annotations"][names.SPEC_HASH_ANNOTATION] for meta in (one, other)]
    assert hashes[0] != hashes[1]
    assert (one[kind]["name"] == other[kind]["name"]) == ("halvings" in change)


@hypothesis.settings(deadline=None)
@given(
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
    number=st.integers(1, 99_999),
    stage=st.sampled_from([PREPARE, "feedback-model", "synthesis", "policy", "evaluation"]),
    nodes=st.integers(1, 2),
)
def test_every_name_of_a_run_gives_objects_that_kubernetes_takes(
    name: str, number: int, stage: str, nodes: int
) -> None:
    seen = observed(stored(an_alignment_run()), name=name, compute={"nodes": nodes})
    for _, body in render(seen, attempt(seen, stage, number)):
        assert faults(dict(body)) == []


# -- documents -------------------------------------------------------------------------------------------------------


def test_the_stage_document_is_the_plan_s_stage() -> None:
    seen = observed(
        stored(an_alignment_run(compute={"tokenBudget": 4096}, policy={"checkpoint": {"everySeconds": 60}}))
    )
    assert seen.plan is not None
    for planned in seen.plan.stages:
        config_map = dict(render(seen, attempt(seen, planned.name, 3, halvings=1)))[CONFIG_MAPS]
        assert config_map["immutable"] is True
        document = Stage.model_validate_json(config_map["data"]["stage.json"])
        assert (document.config, document.key, document.name) == (planned.config, planned.key, planned.name)
        assert stage_key(document.config, document.recipe_version) == planned.key
        execution = document.execution
        assert (execution.attempt, execution.token_budget, execution.token_budget_halvings) == (3, 4096, 1)
        assert execution.checkpoint_every_seconds == (60 if planned.name == "policy" else 600)
        assert (execution.storage, execution.progress_port) == ("s3://alignment/team", names.PROGRESS_PORT)
        assert execution.outcome_file == "/dev/termination-log"
        assert execution.grace_period_seconds == SETTINGS.grace_period_seconds


def test_prepare_gets_the_manifest_and_the_pins_that_hold() -> None:
    seen = observed(stored(an_alignment_run()))
    stale = {**seen.pins, "0" * 16: next(iter(seen.pins.values())).model_copy(update={"id": "0" * 16})}
    seen = replace(seen, pins=stale)
    document = Prepare.model_validate_json(
        dict(render(seen, attempt(seen, PREPARE)))[CONFIG_MAPS]["data"]["prepare.json"]
    )
    assert seen.plan is not None
    assert [pin.id for pin in document.pins] == [source.id for source in seen.plan.sources]
    assert document.manifest == seen.run.document
    assert document.recipe == seen.plan.recipe
    assert (document.run.uid, document.execution.cluster) == (UID, "cluster")


def test_parts_of_a_shared_stage_know_how_many_they_are() -> None:
    seen = observed(stored(an_alignment_run(synthesis={"compute": {"nodes": 8}})))

    def execution(**fields: Any) -> Execution:
        data = dict(render(seen, attempt(seen, "synthesis", **fields)))[CONFIG_MAPS]["data"]
        return Stage.model_validate_json(data["stage.json"]).execution

    assert (execution().part, execution().shards) == (StagePart.SHARD, 8)
    assert (execution(part=Part.MERGE).part, execution(part=Part.MERGE).shards) == (StagePart.MERGE, 8)


# -- shapes of Jobs --------------------------------------------------------------------------------------------------


def test_ranks_stand_and_fall_together() -> None:
    seen = observed(stored(an_alignment_run()), compute={"nodes": 4, "devicesPerNode": 8})
    spec = rendered_job(seen, attempt(seen, "policy"))["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert spec["backoffLimit"] == 0
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}


def test_independent_pods_go_on_without_each_other() -> None:
    """With a limit of 0 for the whole Job the first failed index would end all others."""
    seen = observed(stored(an_eval_run(compute={"nodes": 4})))
    job = rendered_job(seen, attempt(seen, "evaluation"))
    spec = job["spec"]
    assert (spec["completionMode"], spec["backoffLimitPerIndex"]) == ("Indexed", 0)
    assert "backoffLimit" not in spec
    assert "subdomain" not in pod_of(job)
    assert "MASTER_ADDR" not in environment_of(job)
    assert SERVICES not in [resource for resource, _ in render(seen, attempt(seen, "evaluation"))]


def test_a_merge_asks_for_no_device_and_no_queue() -> None:
    seen = observed(stored(an_alignment_run(compute={"queueName": "gpus"}, synthesis={"compute": {"nodes": 8}})))
    merge = rendered_job(seen, attempt(seen, "synthesis", part=Part.MERGE))
    assert merge["spec"]["completions"] == 1
    assert container_of(merge)["resources"] == SETTINGS.prepare_resources.model_dump()
    assert names.QUEUE_LABEL not in merge["metadata"]["labels"]
    assert "suspend" not in merge["spec"]
    assert merge["metadata"]["annotations"][names.DEVICES_ANNOTATION] == "0"


@pytest.mark.parametrize("case", RENDERED)
def test_nothing_but_the_operator_ends_or_removes_a_job(case: Any) -> None:
    job = next(body for resource, body in case.objects() if resource == JOBS)
    assert not {"ttlSecondsAfterFinished", "activeDeadlineSeconds", "successPolicy"} & set(job["spec"])
    assert "activeDeadlineSeconds" not in pod_of(job)


def test_rank_0_is_found_by_its_name() -> None:
    seen = observed(stored(an_alignment_run()), compute={"nodes": 2})
    made = dict(render(seen, attempt(seen, "policy")))
    job, service = made[JOBS], made[SERVICES]
    name = job["metadata"]["name"]
    environment = environment_of(job)
    assert service["metadata"]["name"] == pod_of(job)["subdomain"] == name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert environment["MASTER_ADDR"] == f"{name}-0.{name}.team.svc"
    assert environment["MASTER_PORT"] == str(service["spec"]["ports"][0]["port"])
    assert environment["NNODES"] == "2"
    assert environment["NODE_RANK"]["fieldRef"]["fieldPath"].endswith("['batch.kubernetes.io/job-completion-index']")


# -- failure policy --------------------------------------------------------------------------------------------------


def test_every_class_that_a_process_can_report_has_its_rule() -> None:
    rules = pod_failure_policy(independent=False)["rules"]
    assert "onPodConditions" in rules[0]
    assert class_of_rule(0) is FailureClass.PREEMPTED
    found = {rule["onExitCodes"]["values"][0]: class_of_rule(index) for index, rule in enumerate(rules) if index}
    assert found == {int(code): code.failure_class for code in ExitCode if code is not ExitCode.DONE}


@pytest.mark.parametrize("index", [-1, len(RULES), 10_000])
def test_a_rule_that_is_not_there_has_no_class(index: int) -> None:
    assert class_of_rule(index) is None


def test_rules_mean_the_same_for_independent_pods() -> None:
    """Rules of running Jobs are read back by index; both kinds of Jobs are read by one table."""
    one, other = (pod_failure_policy(independent=each)["rules"] for each in (False, True))
    assert [{**rule, "action": ""} for rule in one] == [{**rule, "action": ""} for rule in other]
    ends = [class_of_rule(index) for index, rule in enumerate(other) if rule["action"] == "FailJob"]
    assert ends == [FailureClass.INVALID_CONFIG, FailureClass.INVALID_DATA, FailureClass.MISSING_INPUT]


# -- queues and devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "labels", "settings", "expected"),
    [
        ({}, {}, {}, None),
        ({"queueName": "own"}, {"kueue.x-k8s.io/queue-name": "label"}, {"queueName": "settings"}, "own"),
        ({}, {"kueue.x-k8s.io/queue-name": "label"}, {"queueName": "settings"}, "label"),
        ({}, {}, {"queueName": "settings"}, "settings"),
        ({"queueName": "own", "devicesPerNode": 0}, {}, {}, None),
        ({"queueName": "own", "devicesPerNode": 0}, {}, {"queueCPUStages": True}, "own"),
        ({}, {}, {"queueName": "settings", "devicesPerNode": 0}, None),
    ],
)
def test_a_queue_is_joined_at_creation(
    spec: dict[str, Any], labels: dict[str, str], settings: dict[str, Any], expected: str | None
) -> None:
    chosen = SETTINGS.overlaid(NamespaceSettings.model_validate(settings).model_dump(exclude_unset=True))
    seen = observed(stored(an_alignment_run(compute=spec)), chosen, labels=labels)
    job = rendered_job(seen, attempt(seen, "policy"))
    assert job["metadata"]["labels"].get(names.QUEUE_LABEL) == expected
    assert job["spec"].get("suspend") == (True if expected else None)


def test_prepare_asks_for_no_device_whatever_the_stages_ask_for() -> None:
    job = job_for(PREPARE, compute={"devicesPerNode": 1, "resources": {"requests": {"memory": "800Gi"}}})
    assert container_of(job)["resources"] == SETTINGS.prepare_resources.model_dump()
    assert job["metadata"]["annotations"][names.DEVICES_ANNOTATION] == "0"


def test_devices_are_counted_over_all_pods() -> None:
    seen = observed(stored(an_alignment_run()), compute={"nodes": 2, "devicesPerNode": 8})
    job = rendered_job(seen, attempt(seen, "policy"))
    assert job["metadata"]["annotations"][names.DEVICES_ANNOTATION] == "16"
    assert (
        container_of(job)["resources"]["limits"]
        == container_of(job)["resources"]["requests"]
        == {"nvidia.com/gpu": "8"}
    )


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_secrets_are_named_and_never_read() -> None:
    case = cases()["evaluation-with-secrets"]
    job = next(body for resource, body in case.objects() if resource == JOBS)
    found = {name: value["secretKeyRef"] for name, value in environment_of(job).items() if "secretKeyRef" in str(value)}
    assert {name: (ref["name"], ref["key"]) for name, ref in found.items()} == {
        "AWS_ACCESS_KEY_ID": ("store", "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": ("store", "AWS_SECRET_ACCESS_KEY"),
        "AWS_SESSION_TOKEN": ("store", "AWS_SESSION_TOKEN"),
        "HF_TOKEN": ("hub", "HF_TOKEN"),
        "BORESIGHT_JUDGE_API_KEY": ("judge", "JUDGE_API_KEY"),
    }
    assert found["AWS_SESSION_TOKEN"]["optional"] is True
    assert "optional" not in found["AWS_ACCESS_KEY_ID"]


def test_only_the_evaluation_gets_the_judge_s_key() -> None:
    judge = {"endpoint": "https://judge.example/v1", "model": "m", "secretName": "judge"}
    evaluation = {"suites": [{"name": "Pairwise", "judge": judge}]}
    assert "BORESIGHT_JUDGE_API_KEY" in environment_of(job_for("evaluation", evaluation=evaluation))
    for stage in ("policy", "synthesis", PREPARE):
        assert "BORESIGHT_JUDGE_API_KEY" not in environment_of(job_for(stage, evaluation=evaluation))


def test_credentials_of_another_store_do_not_meet_ours() -> None:
    job = next(body for resource, body in cases()["evaluation-with-secrets"].objects() if resource == JOBS)
    stage = dict(cases()["evaluation-with-secrets"].objects())[CONFIG_MAPS]["data"]["stage.json"]
    shared, public = Stage.model_validate_json(stage).execution.read_from
    mounts = {mount["mountPath"]: mount["name"] for mount in container_of(job)["volumeMounts"]}
    volume = next(item for item in pod_of(job)["volumes"] if item["name"] == mounts[shared.credentials or ""])
    assert {source["secret"]["name"] for source in volume["projected"]["sources"]} == {"shared"}
    assert (public.uri, public.credentials) == ("s3://open", None)


def test_a_run_without_secret_uses_what_its_identity_gives() -> None:
    settings = SETTINGS.overlaid({"service_account_name": "workload"})
    seen = observed(stored(an_alignment_run(), storage={"uri": "s3://bucket"}), settings)
    job = rendered_job(seen, attempt(seen, "policy"))
    assert not [name for name in environment_of(job) if name.startswith("AWS_")]
    assert pod_of(job)["serviceAccountName"] == "workload"
    assert pod_of(job)["automountServiceAccountToken"] is False


# -- what a run cannot change ----------------------------------------------------------------------------------------

_OURS = st.sampled_from(
    ["HOME", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "NODE_RANK", "NNODES", "HF_TOKEN", "https_proxy", "OWN"]
)
_LABELS = st.sampled_from(["app.kubernetes.io/managed-by", "app.kubernetes.io/instance", names.RUN_UID_LABEL, "team"])


@hypothesis.settings(deadline=None)
@given(
    env=st.dictionaries(_OURS, st.text("abc", max_size=5)),
    labels=st.dictionaries(_LABELS, st.sampled_from(["x", "y"])),
    mounts=st.sets(st.sampled_from(["/tmp", "/home/boresight", "/dev/shm", "/cache"])),
    nodes=st.sampled_from([1, 2]),
)
def test_a_pod_template_never_wins_over_ours(
    env: dict[str, str], labels: dict[str, str], mounts: set[str], nodes: int
) -> None:
    template = {
        **POD_TEMPLATE,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "labels": labels,
        "volumeMounts": [{"name": "cache", "mountPath": path} for path in sorted(mounts)],
    }
    hub = {"hub": {"secretName": "hub"}, "compute": {"proxy": {"httpsProxy": "http://p"}}}
    free = observed(stored(an_alignment_run(**hub)), compute={"nodes": nodes})
    wished = observed(stored(an_alignment_run(**hub)), compute={"nodes": nodes, "podTemplate": template})
    plain, job = (rendered_job(each, attempt(each, "policy")) for each in (free, wished))
    assert faults(job) == []
    assert environment_of(job).items() >= environment_of(plain).items()
    assert pod_of(job)["securityContext"] == pod_of(plain)["securityContext"]
    assert container_of(job)["securityContext"] == container_of(plain)["securityContext"]
    metadata, before = (each["spec"]["template"]["metadata"] for each in (job, plain))
    assert metadata["labels"].items() >= before["labels"].items()
    assert metadata["annotations"].items() >= before["annotations"].items()
    assert [
        mount for mount in container_of(job)["volumeMounts"] if mount["mountPath"].startswith("/etc/boresight")
    ] == [mount for mount in container_of(plain)["volumeMounts"] if mount["mountPath"].startswith("/etc/boresight")]


def test_a_run_s_pod_template_lies_over_the_settings() -> None:
    settings = SETTINGS.overlaid({"pod_template": {"nodeSelector": {"pool": "a"}, "priorityClassName": "low"}})
    pod = pod_of(job_for(settings=settings, compute={"podTemplate": {"nodeSelector": {"pool": "b"}}}))
    assert (pod["nodeSelector"], pod["priorityClassName"]) == ({"pool": "b"}, "low")


def test_a_stage_s_placement_lies_over_the_run_s_pod_template() -> None:
    spec = {
        "compute": {"podTemplate": {"nodeSelector": {"pool": "a"}, "labels": {"team": "x"}}},
        "policy": {"compute": {"podTemplate": {"nodeSelector": {"pool": "b"}}}},
    }
    assert pod_of(job_for("policy", **copy.deepcopy(spec)))["nodeSelector"] == {"pool": "b"}
    assert pod_of(job_for("synthesis", **copy.deepcopy(spec)))["nodeSelector"] == {"pool": "a"}
    assert job_for("policy", **spec)["spec"]["template"]["metadata"]["labels"]["team"] == "x"


def test_a_placement_of_a_stage_alone_is_enough() -> None:
    job = job_for(
        "policy", policy={"compute": {"podTemplate": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}}
    )
    assert pod_of(job)["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


@pytest.mark.parametrize("affinity", [None, POD_TEMPLATE["affinity"], {"podAntiAffinity": {}}])
def test_avoided_nodes_are_avoided_by_every_way_to_a_node(affinity: dict[str, Any] | None) -> None:
    template = {"affinity": affinity} if affinity else {}
    seen = observed(stored(an_alignment_run(compute={"podTemplate": template})))
    pod = pod_of(rendered_job(seen, attempt(seen, "policy", avoid_nodes=("node-a", "node-b"))))
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in required["nodeSelectorTerms"]:
        excluded = [field["values"] for field in term["matchFields"] if field["operator"] == "NotIn"]
        assert excluded == [["node-a"], ["node-b"]]
    assert all(len(field["values"]) == 1 for term in required["nodeSelectorTerms"] for field in term["matchFields"])


# -- the network -----------------------------------------------------------------------------------------------------


def test_only_named_readers_reach_the_progress_port_and_ranks_reach_each_other() -> None:
    seen = observed(stored(a_synthesis()))
    policy = dict(render(seen, attempt(seen, "synthesis")))[NETWORK_POLICIES]["spec"]
    ours = {"matchLabels": {names.RUN_UID_LABEL: UID}}
    among, readers = policy["ingress"]
    assert policy["podSelector"] == ours
    assert among == {"from": [{"podSelector": ours}]}
    assert readers["ports"] == [{"port": names.PROGRESS_PORT, "protocol": "TCP"}]
    assert all(set(peer) == {"namespaceSelector", "podSelector"} for peer in readers["from"])
    assert policy["policyTypes"] == ["Ingress"]


def test_all_stages_of_a_run_share_one_network_policy() -> None:
    seen = observed(stored(an_alignment_run()))
    made = [dict(render(seen, attempt(seen, stage)))[NETWORK_POLICIES] for stage in (PREPARE, "policy", "evaluation")]
    assert made[0] == made[1] == made[2]


def test_no_document_holds_a_float() -> None:
    """What is hashed and compared has one spelling."""

    def refuse(text: str) -> float:
        raise AssertionError(text)

    for case in cases().values():
        for _, body in case.objects():
            json.loads(json.dumps(body), parse_float=refuse)
