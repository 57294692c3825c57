"""The part of a pod's template that a run may set: Kubernetes' own fields, under Kubernetes' own names.

Exactly these exist. Host access, service accounts, security contexts, schedulerName, nodeName and further containers
are left out on purpose: a run namespace is a tenant.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints, model_validator

from .base import Contract, operational, rules
from .kubernetes import FileKey, LabelKey, LabelValue, LocalObject, ObjectName
from .volumes import Volume, VolumeMount

RESERVED_ENV_PATTERN = r"^(BORESIGHT_|LD_|PYTHON|MASTER_|RANK$)"

AnnotationValue = Annotated[str, StringConstraints(max_length=4096)]


class SelectorOperator(StrEnum):
    """Operators of label expressions."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class SelectorRequirement(Contract):
    """One expression over labels."""

    key: LabelKey = operational()
    """Label."""
    operator: SelectorOperator = operational()
    """How it compares (Gt and Lt: nodes only)."""
    values: tuple[LabelValue, ...] = operational((), max_length=64)
    """With what."""


class LabelSelector(Contract):
    """Which pods."""

    match_labels: dict[LabelKey, LabelValue] = operational(default_factory=dict, max_length=32)
    """All of these labels."""
    match_expressions: tuple[SelectorRequirement, ...] = operational((), max_length=16)
    """All of these expressions."""


class NodeSelectorTerm(Contract):
    """Which nodes: all expressions must hold."""

    match_expressions: tuple[SelectorRequirement, ...] = operational((), max_length=16)
    """Over labels."""
    match_fields: tuple[SelectorRequirement, ...] = operational((), max_length=16)
    """Over fields."""


class NodeSelector(Contract):
    """Which nodes: one of the terms must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = operational(min_length=1, max_length=16)
    """The terms."""


class PreferredNodes(Contract):
    """Nodes that are preferred."""

    weight: int = operational(ge=1, le=100)
    """How much."""
    preference: NodeSelectorTerm = operational()
    """Which."""


class NodeAffinity(Contract):
    """Which nodes a pod needs or prefers."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = operational(None)
    """Needed."""
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredNodes, ...] = operational((), max_length=16)
    """Preferred."""


class PodAffinityTerm(Contract):
    """Pods, and what being near them means."""

    label_selector: LabelSelector | None = operational(None)
    """Which pods of the run's namespace."""
    topology_key: LabelKey = operational()
    """Node label whose equality means near."""
    match_label_keys: tuple[LabelKey, ...] = operational((), max_length=8)
    """Labels of the pod itself that the others must share."""


class PreferredPods(Contract):
    """Pods whose nearness is preferred."""

    weight: int = operational(ge=1, le=100)
    """How much."""
    pod_affinity_term: PodAffinityTerm = operational()
    """Which."""


class PodAffinity(Contract):
    """Which pods a pod needs or prefers near (or, in anti-affinity, far)."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = operational((), max_length=8)
    """Needed."""
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredPods, ...] = operational((), max_length=8)
    """Preferred."""


class Affinity(Contract):
    """Scheduling constraints."""

    node_affinity: NodeAffinity | None = operational(None)
    """Towards nodes."""
    pod_affinity: PodAffinity | None = operational(None)
    """Towards pods."""
    pod_anti_affinity: PodAffinity | None = operational(None)
    """Away from pods."""


class WhenUnsatisfiable(StrEnum):
    """What to do with a pod that would break the spread."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class TopologySpreadConstraint(Contract):
    """How pods spread over a topology."""

    max_skew: int = operational(ge=1, le=10_000)
    """Largest difference in pods between two domains."""
    topology_key: LabelKey = operational()
    """Node label that names the domain."""
    when_unsatisfiable: WhenUnsatisfiable = operational()
    """What to do when it cannot hold."""
    label_selector: LabelSelector | None = operational(None)
    """Which pods are counted."""
    min_domains: int | None = operational(None, ge=1, le=10_000)
    """Fewest domains."""
    match_label_keys: tuple[LabelKey, ...] = operational((), max_length=8)
    """Labels of the pod itself that the counted pods share."""


class TolerationOperator(StrEnum):
    """How a toleration matches."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """Effects of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Contract):
    """A taint that the pods tolerate; only as the namespace's settings allow."""

    key: LabelKey | None = operational(None)
    """The taint's key. Absent: all."""
    operator: TolerationOperator | None = operational(None)
    """Default Equal."""
    value: LabelValue | None = operational(None)
    """The taint's value."""
    effect: TaintEffect | None = operational(None)
    """The taint's effect. Absent: all."""
    toleration_seconds: int | None = operational(None, ge=0, le=31_536_000)
    """With NoExecute: for how long."""


class KeyReference(Contract):
    """One key of a ConfigMap or Secret of the run's namespace."""

    name: ObjectName = operational()
    """The object's name."""
    key: FileKey = operational()
    """The key."""
    optional: bool | None = operational(None)
    """Whether it may be missing."""


class EnvSource(Contract):
    """Where the value of a variable comes from."""

    config_map_key_ref: KeyReference | None = operational(None)
    """A ConfigMap's key."""
    secret_key_ref: KeyReference | None = operational(None)
    """A Secret's key."""


class EnvVar(Contract):
    """An environment variable of the stage's container."""

    model_config = rules(
        (f"!self.name.matches('{RESERVED_ENV_PATTERN}')", "BORESIGHT_*, LD_*, PYTHON*, MASTER_* and RANK are reserved"),
        ("!(has(self.value) && has(self.valueFrom))", "expected value or valueFrom, not both"),
    )

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] = operational()
    """Its name; not BORESIGHT_*, LD_*, PYTHON*, MASTER_* or RANK."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = operational(None)
    """Its value."""
    value_from: EnvSource | None = operational(None)
    """Where its value comes from."""

    @model_validator(mode="after")
    def _is_allowed(self) -> EnvVar:
        if re.match(RESERVED_ENV_PATTERN, self.name):
            raise ValueError(f'name: found "{self.name}"; BORESIGHT_*, LD_*, PYTHON*, MASTER_* and RANK are reserved')
        if self.value is not None and self.value_from is not None:
            raise ValueError("found value and valueFrom, expected one of the two")
        return self


class Placement(Contract):
    """Where a stage's pods may run, and as what."""

    node_selector: dict[LabelKey, LabelValue] = operational(default_factory=dict, max_length=32)
    """Node labels that must match."""
    tolerations: tuple[Toleration, ...] = operational((), max_length=32)
    """Taints that are tolerated; as the namespace's settings allow."""
    priority_class_name: ObjectName | None = operational(None)
    """Priority class; as the namespace's settings allow."""
    runtime_class_name: ObjectName | None = operational(None)
    """Runtime class; as the namespace's settings allow."""
    image: Annotated[str, StringConstraints(pattern=r"^[^\s]+$", max_length=512)] | None = operational(None)
    """Trainer image; as the namespace's settings allow. Default: the settings'."""


class PodTemplate(Placement):
    """What a run may set of its pods. Our own labels and security context win over everything."""

    labels: dict[LabelKey, LabelValue] = operational(default_factory=dict, max_length=32)
    """Labels."""
    annotations: dict[LabelKey, AnnotationValue] = operational(default_factory=dict, max_length=32)
    """Annotations."""
    affinity: Affinity | None = operational(None)
    """Scheduling constraints."""
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = operational((), max_length=8)
    """How pods spread."""
    image_pull_secrets: tuple[LocalObject, ...] = operational((), max_length=8, list_keys=("name",))
    """Secrets for pulling the image."""
    env: tuple[EnvVar, ...] = operational((), max_length=64, list_keys=("name",))
    """Environment variables."""
    volume_mounts: tuple[VolumeMount, ...] = operational((), max_length=32, list_keys=("mountPath",))
    """Where volumes appear."""
    volumes: tuple[Volume, ...] = operational((), max_length=32, list_keys=("name",))
    """Volumes."""
