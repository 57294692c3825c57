"""The operator's settings: environment (``BORESIGHT_OPERATOR_*``, nested with ``__``) over a YAML file.

``BORESIGHT_OPERATOR_CONFIG`` names the file; its fields are in camelCase, as in our custom resources. Nothing in here
enters a key. What is wrong is said all at once, by :class:`SettingsError`, and the operator does not start.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from boresight_api.base import Contract, Name
from boresight_api.compute import Resources
from boresight_api.documents import load_yaml
from boresight_api.kubernetes import LabelKey, LabelValue, ObjectName
from boresight_api.manifest import problems_of
from boresight_api.podtemplate import PodTemplate
from boresight_api.problems import ManifestError, Problem, ProblemsError, closest
from boresight_api.spec import Hub, Storage
from pydantic import BaseModel, Field, PrivateAttr, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as _UnreadableVariable

from .reserved import reserved

PREFIX = "BORESIGHT_OPERATOR_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SERVICE_LINK = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\w+)?)$")
"""What a Service named ``boresight-operator`` puts into the environment of pods beside it, after our prefix."""

Image = Annotated[str, StringConstraints(pattern=r"^\S+$", min_length=1, max_length=512)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class SettingsError(ProblemsError):
    """Settings that cannot be used, every fault with its field."""


class Limits(Contract):
    """What the runs of one namespace may have together."""

    max_runs: int | None = Field(None, ge=0)
    """Runs with a live attempt; None: no limit. Further runs wait (NamespaceLimit)."""
    max_devices: int | None = Field(None, ge=0)
    """Devices of all live attempts; None: no limit."""
    max_infrastructure_retries: int | None = Field(None, ge=0)
    """Upper bound of a run's ``retry.infrastructure``; None: no bound."""


class Peer(Contract):
    """Pods that may connect to a run's pods, as a NetworkPolicy selects them."""

    namespace_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=16)
    """Labels of their namespace; empty: any namespace."""
    pod_labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=16)
    """Their own labels; empty: every pod of the namespace."""

    @model_validator(mode="after")
    def _is_not_everybody(self) -> Self:
        if not self.namespace_labels and not self.pod_labels:
            raise ValueError(
                "found no label, expected namespaceLabels or podLabels: without any, everybody may connect"
            )
        return self


def own_namespace() -> str:
    """The namespace of the pod that this process runs in; ``default`` outside a cluster."""
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"


def _ourselves() -> tuple[Peer, ...]:
    return (
        Peer(
            namespace_labels={"kubernetes.io/metadata.name": own_namespace()},
            pod_labels={"app.kubernetes.io/name": "boresight-operator"},
        ),
    )


class NamespaceSettings(Contract):
    """What runs of one namespace get where they say nothing, and what they may ask for."""

    cluster_name: Name = "cluster"
    """Name of this cluster in the stores' refs: clusters that share a store need different ones."""
    image: Image = f"boresight-trainer:{version('boresight')}"
    """Trainer image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """None: Kubernetes' default for the image's tag."""
    storage: Storage | None = None
    """Store of runs that name none."""
    hub: Hub | None = None
    """Hugging Face hub (or mirror) of runs that name none."""
    device_resource: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=317)] = (
        "nvidia.com/gpu"
    )
    """Extended resource that ``devicesPerNode`` counts."""
    devices_per_node: int = Field(1, ge=0, le=64)
    """Devices of a pod of a stage that says nothing; 0 is CPU."""
    resources: Resources | None = None
    """Requests and limits of stages that say nothing."""
    prepare_resources: Resources = Resources(
        requests={"cpu": "1", "memory": "2Gi"},
        limits={"memory": "8Gi"},
    )
    """Requests and limits of the pods that need no device: ``prepare``, and the merge of independent pods."""
    queue_name: LabelValue | None = None
    """Kueue LocalQueue of runs that name none; None: no queue."""
    queue_cpu_stages: bool = Field(False, alias="queueCPUStages")
    """Whether pods that need no device go through the queue too."""
    pod_template: PodTemplate | None = None
    """Fields of all pods; a run's own come on top, field by field."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods, for a cloud's workload identity; its token is never mounted."""
    grace_period_seconds: int = Field(120, ge=1, le=86_400)
    """Seconds from SIGTERM to SIGKILL: long enough for a checkpoint."""
    start_seconds: int = Field(900, ge=1, le=604_800)
    """Seconds that a pod may take to start, where a run's ``timeouts.startSeconds`` says nothing."""
    node_lost_seconds: int = Field(300, ge=1, le=86_400)
    """Seconds after which a pod on a node that is gone no longer holds up the next attempt."""
    run_as_user: int = Field(65532, ge=1, le=2**31 - 1)
    """User and group id of the pods; never root."""
    ingress_from: tuple[Peer, ...] = Field(default_factory=_ourselves, min_length=1, max_length=16)
    """Who may read a run's progress and metrics: the operator, and Prometheus. Default: the operator alone."""
    allowed_images: tuple[Pattern, ...] = ()
    """Glob patterns of images that runs may name; the settings' own image is always allowed."""
    allowed_priority_classes: tuple[Pattern, ...] = ()
    """Priority classes that runs may name."""
    allowed_runtime_classes: tuple[Pattern, ...] = ()
    """Runtime classes that runs may name."""
    allowed_tolerations: tuple[Pattern, ...] = ()
    """Keys of taints that runs may tolerate; ``*`` stands for a toleration without key, which tolerates everything."""
    allowed_read_from: tuple[Pattern, ...] = ()
    """Prefixes of store URIs that runs may list in ``storage.readFrom``."""
    limits: Limits = Limits()
    """What the namespace's runs may have together."""

    @model_validator(mode="after")
    def _pods_are_ours(self) -> Self:
        if self.pod_template is not None:
            volumes = {volume.name for volume in self.pod_template.volumes}
            for problem in reserved(self.pod_template, volumes):
                raise ValueError(f"podTemplate.{problem}")
        return self

    def overlaid(self, override: Mapping[str, Any]) -> NamespaceSettings:
        """These with ``override`` on top, field by field; ``limits`` too, for a new limit lifts no other one.

        Every other value is replaced whole: half of one store and half of another is none. Raises ValidationError.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        if isinstance(limits := override.get("limits"), Mapping):
            override = {**override, "limits": {**dict(self.limits), **limits}}
        return type(self).model_validate({**fields, **override})


class Settings(BaseSettings):
    """Everything that an operator process is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    watch_namespaces: tuple[Name, ...] = ()
    """Namespaces whose runs are reconciled; empty: all of the cluster."""
    defaults: NamespaceSettings = NamespaceSettings()
    """Of every namespace."""
    namespaces: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Per namespace, what differs from ``defaults`` (:meth:`NamespaceSettings.overlaid`)."""
    pod_name: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Name of this process in logs and events. Default: the host's."""
    identity: str = Field("", max_length=253)
    """Holder name in the Lease; of this process alone. Default: ``<podName>_<random>``."""
    lease_namespace: Name = Field(default_factory=own_namespace)
    """Namespace of the Lease. Default: the pod's own."""
    lease_name: ObjectName = "boresight-operator"
    """Name of the Lease."""
    leader_election: bool = True
    """Whether writing needs the Lease; False only for a process that is alone by construction."""
    lease_seconds: float = Field(10, gt=0, le=3600)
    """Seconds without renewal after which another process may take the Lease."""
    renew_seconds: float = Field(6, gt=0, le=3600)
    """Seconds without renewal after which the holder stops writing and exits; below ``leaseSeconds``."""
    retry_seconds: float = Field(2, gt=0, le=3600)
    """Seconds between two looks at the Lease; below ``renewSeconds``."""
    list_interval_seconds: float = Field(300, ge=1, le=86_400)
    """Seconds between two full LISTs of everything watched."""
    workers: int = Field(32, ge=1, le=1024)
    """Runs reconciled at once."""
    requests_in_flight: int = Field(32, ge=1, le=1024)
    """Requests to the API server at once."""
    metrics_port: int = Field(9090, ge=0, le=65_535)
    """Port of /metrics, /healthz and /readyz, on all addresses; 0: a free port of 127.0.0.1, which the log names."""
    metrics_runs: int = Field(500, ge=0, le=100_000)
    """Runs whose conditions are on /metrics; stalled ones first, then those that go on, then the youngest."""
    metrics_stages: int = Field(200, ge=0, le=100_000)
    """Finished stages whose figures are on /metrics; the last ones."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is logged."""
    progress_interval_seconds: float = Field(10, ge=1, le=3600)
    """Seconds between two polls of a running stage's progress."""

    _effective: dict[str, NamespaceSettings] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _is_coherent(self) -> Self:
        if not self.retry_seconds < self.renew_seconds < self.lease_seconds:
            found = f"retrySeconds {self.retry_seconds:g}, renewSeconds {self.renew_seconds:g}, "
            raise ValueError(f"found {found}leaseSeconds {self.lease_seconds:g}, expected each below the next")
        if not self.identity:
            object.__setattr__(self, "identity", f"{self.pod_name}_{uuid.uuid4()}")
        problems: list[Problem] = []
        for name, override in self.namespaces.items():
            try:
                self._effective[name] = self.defaults.overlaid(_named(NamespaceSettings, override))
            except ValidationError as error:
                problems += _below(f"namespaces.{name}", problems_of(NamespaceSettings, error))
        if problems:
            raise SettingsError(problems)
        return self

    def of(self, namespace: str) -> NamespaceSettings:
        """The settings of a namespace."""
        return self._effective.get(namespace, self.defaults)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _named(cls, _file()))


def load_settings() -> Settings:
    """Settings of this process. Raises :class:`SettingsError` with everything that is wrong."""
    if problems := list(_misspelt()):
        raise SettingsError(problems)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_below("", problems_of(Settings, error))) from None
    except _UnreadableVariable as error:
        field = re.search(r'field "(\w+)"', str(error))
        variable = PREFIX + field.group(1).upper() if field else PREFIX
        found = f'"{os.environ.get(variable, "")[:80]}"'
        raise SettingsError([Problem(variable, found, "JSON", 'lists are ["a", "b"], mappings {"a": 1}')]) from None


def _file() -> dict[str, Any]:
    """The configuration file; empty if none is named. Raises SettingsError."""
    path = os.environ.get(CONFIG_VARIABLE)
    if not path:
        return {}
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        found = f'"{path}" ({getattr(error, "strerror", None) or error})'
        raise SettingsError([Problem(CONFIG_VARIABLE, found, "a readable YAML file")]) from None
    try:
        return load_yaml(text) if text.strip() else {}
    except ManifestError as error:
        raise SettingsError(
            Problem(f"{path} {p.path}".strip(), p.found, p.expected, p.advice) for p in error.problems
        ) from None


def _misspelt() -> list[Problem]:
    """Variables under our prefix that name no field: a setting that silently does nothing is worse than an error."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    problems = []
    for variable in sorted(os.environ):
        head = variable.upper().partition("__")[0]
        if not head.startswith(PREFIX) or head == CONFIG_VARIABLE or _SERVICE_LINK.match(head.removeprefix(PREFIX)):
            continue
        if head not in known:
            guess = closest(head, known)
            advice = f"did you mean {guess}?" if guess else "remove it"
            problems.append(Problem(variable, "an unknown variable", "one of " + ", ".join(known), advice))
    return problems


def _named(model: type[BaseModel], document: Mapping[str, Any]) -> dict[str, Any]:
    """``document`` with its fields under Python's names, so that file and environment merge field by field."""
    names = {field.alias or to_camel(name): name for name, field in model.model_fields.items()}
    result: dict[str, Any] = {}
    for key, value in document.items():
        name = names.get(key, key)
        below = _model_in(model.model_fields[name].annotation) if name in model.model_fields else None
        result[name] = _named(below, value) if below is not None and isinstance(value, Mapping) else value
    return result


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: ``M`` or ``M | None``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _in_camel_case(problem: Problem) -> Problem:
    """As the file spells fields: inside they have Python's names (:func:`_named`)."""
    expected = _camel(problem.expected) if problem.found == "an unknown field" else problem.expected
    return Problem(_camel(problem.path), problem.found, expected, problem.advice)


def _camel(text: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found.group(1).upper(), text)


def _below(path: str, problems: list[Problem]) -> list[Problem]:
    places = [(f"{path}.{found.path}".strip(".") or "settings", found) for found in map(_in_camel_case, problems)]
    return [Problem(place, found.found, found.expected, found.advice) for place, found in places]
