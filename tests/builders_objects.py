"""Observations for tests of rendered objects, and the cases whose objects are frozen as golden files."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml
from boresight_api.compute import Compute
from boresight_api.manifest import parse_manifest
from boresight_api.pins import Pin
from boresight_api.plan import Plan, overlaid, plan, sources
from boresight_api.status import RunStatus
from boresight_operator.api import JOBS, Object, Resource
from boresight_operator.decision import StartAttempt
from boresight_operator.objects import plan_config_map, render
from boresight_operator.settings import NamespaceSettings
from boresight_operator.views import PREPARE, Observation, Part, RunView
from builders_manifests import an_alignment_run, an_eval_run

UID = "3f0c6c1e-7d0b-4f1c-9a57-0c5f7c1f2a10"
STORE = {"uri": "s3://alignment/team", "secretName": "store"}
SETTINGS = NamespaceSettings.model_validate(
    {
        "image": "registry.example/trainer:1",
        "ingressFrom": [
            {
                "namespaceLabels": {"kubernetes.io/metadata.name": "boresight-system"},
                "podLabels": {"app.kubernetes.io/name": "boresight-operator"},
            }
        ],
    }
)


def stored(document: Mapping[str, Any], **spec: Any) -> dict[str, Any]:
    """``document`` with a store (unless ``spec`` names one) and further fields of its spec."""
    result = copy.deepcopy(dict(document))
    result["spec"] = {"storage": STORE, **result["spec"], **spec}
    return result


def observed(
    document: Mapping[str, Any],
    settings: NamespaceSettings = SETTINGS,
    *,
    name: str = "first",
    labels: Mapping[str, str] | None = None,
    pinned: bool = True,
    compute: Mapping[str, Any] | None = None,
) -> Observation:
    """A run as it stands before its first attempt. ``compute`` is laid over that of every stage of the plan, for what
    the plan does not let pass yet."""
    document = {
        **document,
        "metadata": {"name": name, "namespace": "team", "labels": dict(labels or {})},
    }
    run = parse_manifest(document)
    pins = {source.id: Pin(id=source.id, digest=f"sha256:{source.id * 4}") for source in sources(run)} if pinned else {}
    return Observation(
        run=RunView(
            kind=run.kind,
            namespace="team",
            name=name,
            uid=UID,
            resource_version="1",
            generation=1,
            created=0.0,
            deleting=False,
            labels=dict(labels or {}),
            annotations={},
            document=document,
            status=RunStatus(),
        ),
        now=0.0,
        settings=settings,
        plan=_with_compute(plan(run, pins), compute),
        pins=pins,
    )


def _with_compute(made: Plan, compute: Mapping[str, Any] | None) -> Plan:
    over = Compute.model_validate(compute or {})
    return replace(made, stages=tuple(replace(each, compute=overlaid(each.compute, over)) for each in made.stages))


def attempt(observation: Observation, stage: str, number: int = 1, **fields: Any) -> StartAttempt:
    """An attempt of a planned stage, or of ``prepare``."""
    assert observation.plan is not None
    key = None if stage == PREPARE else observation.plan.stage(stage).key
    return StartAttempt(stage, key, number, **fields)


def rendered_job(observation: Observation, start: StartAttempt) -> dict[str, Any]:
    """The Job alone."""
    return dict(next(body for resource, body in render(observation, start) if resource == JOBS))


@dataclass(frozen=True)
class Case:
    """Objects to freeze: of an attempt, or of a plan."""

    observation: Observation
    start: StartAttempt | None

    def objects(self) -> tuple[tuple[Resource, Object], ...]:
        """What is rendered."""
        if self.start is None:
            assert self.observation.plan is not None
            return (plan_config_map(self.observation, self.observation.plan),)
        return render(self.observation, self.start)

    def text(self) -> str:
        """As YAML documents; JSON inside a ConfigMap is written out, for people to read."""
        return yaml.dump_all([_readable(body) for _, body in self.objects()], Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _readable(body: Object) -> dict[str, Any]:
    if "data" not in body:
        return dict(body)
    return {**body, "data": {name: json.loads(text) for name, text in body["data"].items()}}


POD_TEMPLATE = {
    "labels": {"team": "vision", "app.kubernetes.io/name": "theirs"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "nodeSelector": {"node.example/pool": "gpu"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
                ]
            }
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"team": "vision"}},
        }
    ],
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "research",
    "runtimeClassName": "nvidia",
    "image": "registry.example/trainer@sha256:" + "ab" * 32,
    "imagePullSecrets": [{"name": "pull"}],
    "env": [
        {"name": "HF_HOME", "value": "/cache"},
        {"name": "HOME", "value": "/root"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "other", "key": "token"}}},
    ],
    "volumes": [
        {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
        {"name": "scratch", "emptyDir": {}},
    ],
    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}, {"name": "scratch", "mountPath": "/tmp"}],
}
"""Every field that a run may set of its pods."""

_QUEUED = {"queueName": "gpus", "workloadPriorityClassName": "research"}
_ENDPOINT = {"endpoint": "https://judge.example/v1", "model": "judge", "secretName": "judge"}
_FOLDER = {
    "compute": {
        "devicesPerNode": 0,
        "resources": {"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
        "podTemplate": {
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
            "volumeMounts": [{"name": "store", "mountPath": "/store"}],
        },
    },
    "storage": {"uri": "file:///store/runs"},
}
_EVERYWHERE = {
    "storage": {
        **STORE,
        "endpoint": "https://minio.example:9000",
        "readFrom": [
            {"uri": "s3://shared", "secretName": "shared", "endpoint": "https://s3.example"},
            {"uri": "s3://open"},
        ],
    },
    "hub": {"endpoint": "https://hub.example", "secretName": "hub"},
    "compute": {
        "caBundle": {"configMapName": "trust"},
        "proxy": {"httpsProxy": "http://proxy.example:3128", "noProxy": ".svc"},
    },
}
_OWN_SETTINGS = NamespaceSettings.model_validate(
    {
        "clusterName": "east",
        "image": "registry.example/trainer:2",
        "imagePullPolicy": "Always",
        "deviceResource": "amd.com/gpu",
        "devicesPerNode": 8,
        "queueName": "default",
        "queueCPUStages": True,
        "serviceAccountName": "workload",
        "gracePeriodSeconds": 300,
        "runAsUser": 1000,
        "storage": STORE,
        "podTemplate": {"nodeSelector": {"pool": "alignment"}, "annotations": {"cost": "alignment"}},
        "ingressFrom": [
            {"namespaceLabels": {"kubernetes.io/metadata.name": "boresight"}, "podLabels": {"app": "operator"}},
            {"namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        ],
    }
)
_SHARDED = {"synthesis": {"compute": {"nodes": 8, "devicesPerNode": 1}}}


def cases() -> dict[str, Case]:
    """By the name of the golden file."""
    plain = observed(stored(an_alignment_run()))
    new = observed(stored(an_alignment_run()), pinned=False)
    sharded = observed(stored(an_alignment_run(**_SHARDED)))
    ranks = observed(stored(an_alignment_run()), compute={"nodes": 2, "devicesPerNode": 8, "shmSize": "64Gi"})
    queued = observed(stored(an_alignment_run(compute=_QUEUED)))
    labelled = observed(stored(an_alignment_run()), labels={"kueue.x-k8s.io/queue-name": "labelled"})
    placed = observed(stored(an_alignment_run(compute={"podTemplate": POD_TEMPLATE})))
    settings = observed(an_alignment_run(), _OWN_SETTINGS)
    judged = observed(stored(an_eval_run(suites=[_pairwise()], **_EVERYWHERE)))
    folder = observed(stored(an_alignment_run(**_FOLDER)))
    again = attempt(plain, "policy", 3, halvings=1, avoid_nodes=("node-a", "node-b"))
    return {
        "prepare-first": Case(new, attempt(new, PREPARE)),
        "prepare-by-settings": Case(settings, attempt(settings, PREPARE, 2)),
        "training": Case(plain, attempt(plain, "feedback-model")),
        "training-again": Case(plain, again),
        "training-ranks": Case(ranks, attempt(ranks, "policy")),
        "training-queued": Case(queued, attempt(queued, "policy")),
        "training-queued-by-label": Case(labelled, attempt(labelled, "policy")),
        "training-by-settings": Case(settings, attempt(settings, "policy")),
        "training-on-cpu-in-a-folder": Case(folder, attempt(folder, "policy")),
        "training-pod-template": Case(placed, attempt(placed, "policy", avoid_nodes=("node-a",))),
        "synthesis-shards": Case(sharded, attempt(sharded, "synthesis")),
        "synthesis-merge": Case(sharded, attempt(sharded, "synthesis", 2, part=Part.MERGE)),
        "evaluation-with-secrets": Case(judged, attempt(judged, "evaluation")),
        "plan": Case(plain, None),
    }


def _pairwise() -> dict[str, Any]:
    return {"name": "Pairwise", "judge": _ENDPOINT, "data": [{"uri": "file:///data/eval.jsonl", "format": "Jsonl"}]}
