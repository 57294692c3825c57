"""Where and how a run's stages run: devices, memory, queue, placement. All of it operational."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from .base import Contract, int_or_string, operational
from .kubernetes import FileKey, LabelValue, ObjectName, Quantity
from .podtemplate import Placement, PodTemplate


class Strategy(StrEnum):
    """How one model trains on several devices."""

    AUTO = "Auto"
    SINGLE = "Single"
    DDP = "DDP"
    ZERO2 = "ZeRO2"
    ZERO3 = "ZeRO3"
    FSDP2 = "FSDP2"


def _refuse_numbers_in_quotes(value: Any) -> Any:
    if isinstance(value, bool) or (value != "Auto" and not isinstance(value, int)):
        raise ValueError(f'found {value!r}, expected a number of tokens or "Auto"')
    return value


TokenBudget = Annotated[
    Annotated[int, Field(ge=1, le=100_000_000)] | Literal["Auto"],
    BeforeValidator(_refuse_numbers_in_quotes),
    int_or_string("^Auto$", 4, minimum=1, maximum=100_000_000),
]

ResourceName = Literal["cpu", "memory", "ephemeral-storage"]


class Resources(Contract):
    """Requests and limits of a stage's container; devices are asked for by ``devicesPerNode``."""

    requests: dict[ResourceName, Quantity] = operational(default_factory=dict, max_length=3)
    """cpu, memory, ephemeral-storage."""
    limits: dict[ResourceName, Quantity] = operational(default_factory=dict, max_length=3)
    """cpu, memory, ephemeral-storage."""


class CaBundle(Contract):
    """Certificates that the stage's pods trust beside the system's."""

    config_map_name: ObjectName = operational()
    """ConfigMap of the run's namespace."""
    key: FileKey | None = operational(None)
    """Its key. Default ``ca.crt``."""


ProxyText = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]+$", min_length=1, max_length=1024)]


class Proxy(Contract):
    """Proxies of the stage's pods."""

    http_proxy: ProxyText | None = operational(None)
    """For http."""
    https_proxy: ProxyText | None = operational(None)
    """For https."""
    no_proxy: ProxyText | None = operational(None)
    """Comma-separated hosts that are reached directly."""


class StageCompute(Contract):
    """What a stage may have of its own; it overrides the run's ``compute``, field by field."""

    nodes: int | None = operational(None, ge=1, le=1024)
    """Pods of a stage; for synthesis and evaluation the number of independent pods. Default 1."""
    devices_per_node: int | None = operational(None, ge=0, le=64)
    """Devices of a pod, of the settings' device resource (nvidia.com/gpu); 0 is CPU. Default: the settings'."""
    strategy: Strategy | None = operational(None)
    """How one model trains on several devices. Default Auto."""
    token_budget: TokenBudget | None = operational(None)
    """Tokens of one micro-batch on one device, or Auto: as many as fit. Default Auto."""
    resources: Resources | None = operational(None)
    """Requests and limits. Default: the settings'."""
    queue_name: LabelValue | None = operational(None)
    """Kueue LocalQueue. Default: the run's label ``kueue.x-k8s.io/queue-name``, else the settings'."""
    workload_priority_class_name: ObjectName | None = operational(None)
    """Kueue WorkloadPriorityClass."""
    shm_size: Quantity | None = operational(None)
    """Size of /dev/shm."""
    pod_template: Placement | None = operational(None)
    """Placement of the pods."""


class Compute(StageCompute):
    """Where and how stages run."""

    pod_template: PodTemplate | None = operational(None)
    """Fields of the pods."""
    ca_bundle: CaBundle | None = operational(None)
    """Further certificates that the pods trust."""
    proxy: Proxy | None = operational(None)
    """Proxies of the pods."""
