"""What a Kubernetes object must be: fields by the official client's models, and the rules that no schema says.

The rules are those of ``pkg/apis/batch/validation`` and of the restricted Pod Security Standard, as far as our objects
come near them. A real API server has the last word (``tests/apiserver``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes.client import models

MODELS = {
    "Job": models.V1Job,
    "ConfigMap": models.V1ConfigMap,
    "Service": models.V1Service,
    "NetworkPolicy": models.V1NetworkPolicy,
}
MAX_NAME = 52
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "object": (object,),
    "float": (int, float),
}
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_RFC_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def faults(body: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with an object of ours."""
    found = [*_fields(MODELS[body["kind"]], body, body["kind"]), *_metadata(body["metadata"], "metadata")]
    if len(body["metadata"]["name"]) > MAX_NAME:
        found.append(f"metadata.name: {len(body['metadata']['name'])} characters")
    if body["kind"] == "Service" and not _RFC_1035.match(body["metadata"]["name"]):
        found.append(f"metadata.name: {body['metadata']['name']} does not begin with a letter (RFC 1035)")
    if body["kind"] == "Job":
        found += [*_job(body["spec"]), *_restricted(body["spec"]["template"]["spec"])]
        found += [*_metadata(body["spec"]["template"]["metadata"], "template.metadata")]
        found += [*_references(body["spec"]["template"]["spec"])]
    return found


# -- fields ----------------------------------------------------------------------------------------------------------


def _fields(model: Any, value: Any, path: str) -> Iterator[str]:
    """Unknown fields and values of the wrong type, as strict decoding finds them."""
    if not isinstance(value, Mapping):
        yield f"{path}: a {type(value).__name__}, not a mapping"
        return
    types = {alias: model.openapi_types[name] for name, alias in model.attribute_map.items()}
    for name, item in value.items():
        if name not in types:
            yield f"{path}.{name}: unknown"
        else:
            yield from _typed(types[name], item, f"{path}.{name}")


def _typed(kind: str, value: Any, path: str) -> Iterator[str]:
    if found := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{path}: no list"
            return
        for index, item in enumerate(value):
            yield from _typed(found.group(1), item, f"{path}[{index}]")
    elif found := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        if not isinstance(value, Mapping):
            yield f"{path}: no mapping"
            return
        for name, item in value.items():
            yield from _typed(found.group(1), item, f"{path}[{name}]")
    elif kind in _SCALARS:
        if not isinstance(value, _SCALARS[kind]) or (isinstance(value, bool) and kind not in ("bool", "object")):
            yield f"{path}: {value!r} is no {kind}"
    else:
        yield from _fields(getattr(models, kind), value, path)


def _metadata(metadata: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, value in metadata["labels"].items():
        if not _LABEL.match(value):
            yield f"{path}.labels[{name}]: {value!r}"


# -- Jobs ------------------------------------------------------------------------------------------------------------


def _job(spec: Mapping[str, Any]) -> Iterator[str]:
    indexed = spec["completionMode"] == "Indexed"
    rules = spec.get("podFailurePolicy", {}).get("rules", [])
    per_index = "backoffLimitPerIndex" in spec
    if spec["template"]["spec"]["restartPolicy"] != "Never":
        yield "restartPolicy: podFailurePolicy goes with Never"
    if spec["podReplacementPolicy"] != "Failed" and rules:
        yield "podReplacementPolicy: podFailurePolicy goes with Failed"
    if per_index and not indexed:
        yield "backoffLimitPerIndex: goes with Indexed"
    if indexed and spec["completions"] != spec["parallelism"]:
        yield "parallelism: ranks would wait for each other"
    if len(rules) > 20:
        yield "podFailurePolicy.rules: more than 20"
    for index, rule in enumerate(rules):
        if rule["action"] not in {"FailJob", "FailIndex"} or (rule["action"] == "FailIndex" and not per_index):
            yield f"rules[{index}].action: {rule['action']}"
        if ("onExitCodes" in rule) == ("onPodConditions" in rule):
            yield f"rules[{index}]: expected one of onExitCodes and onPodConditions"
        yield from _exit_codes(rule.get("onExitCodes"), spec, index)


def _exit_codes(rule: Mapping[str, Any] | None, spec: Mapping[str, Any], index: int) -> Iterator[str]:
    if rule is None:
        return
    values = rule["values"]
    if values != sorted(set(values)) or not all(0 < value < 256 for value in values) or not values:
        yield f"rules[{index}].onExitCodes.values: {values}"
    if rule["containerName"] not in {item["name"] for item in spec["template"]["spec"]["containers"]}:
        yield f"rules[{index}].onExitCodes.containerName: {rule['containerName']}"


# -- pods ------------------------------------------------------------------------------------------------------------


def _restricted(pod: Mapping[str, Any]) -> Iterator[str]:
    """The restricted Pod Security Standard, and what we ask for beyond it."""
    security = pod["securityContext"]
    if security.get("runAsNonRoot") is not True or security.get("runAsUser") in (None, 0):
        yield "securityContext: root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "securityContext.seccompProfile"
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers", "ephemeralContainers", "nodeName"):
        if name in pod:
            yield name
    for volume in pod["volumes"]:
        if set(volume) - {"name"} - _VOLUMES:
            yield f"volumes[{volume['name']}]: {sorted(set(volume) - {'name'})}"
    if pod["automountServiceAccountToken"] is not False or pod["enableServiceLinks"] is not False:
        yield "the pod gets a token or service links"
    for container in pod["containers"]:
        own = container["securityContext"]
        if own["allowPrivilegeEscalation"] or own["privileged"] or not own["readOnlyRootFilesystem"]:
            yield f"{container['name']}: securityContext"
        if own["capabilities"] != {"drop": ["ALL"]} or {"runAsUser", "runAsNonRoot", "seccompProfile"} & set(own):
            yield f"{container['name']}: capabilities, or a context that differs from the pod's"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{container['name']}: hostPort"


def _references(pod: Mapping[str, Any]) -> Iterator[str]:
    """Names are unique, and what is mounted exists."""
    volumes = [volume["name"] for volume in pod["volumes"]]
    if len(set(volumes)) != len(volumes):
        yield f"volumes: {volumes}"
    for container in pod["containers"]:
        mounts = container["volumeMounts"]
        paths = [mount["mountPath"] for mount in mounts]
        names = [entry["name"] for entry in container["env"]]
        if len(set(paths)) != len(paths) or len(set(names)) != len(names):
            yield f"{container['name']}: a path or a variable twice"
        for mount in mounts:
            if mount["name"] not in volumes:
                yield f"{container['name']}: {mount['name']} is no volume"
