"""What a namespace's settings do not allow its runs, and what no object could hold: found before anything is made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from boresight_api.buckets import store_of
from boresight_api.compute import Compute, StageCompute
from boresight_api.plan import overlaid
from boresight_api.podtemplate import Placement, PodTemplate
from boresight_api.problems import ManifestError, Problem
from boresight_api.runnable import named_sources

from ..decision import StartAttempt
from ..parsed import parsed
from ..reserved import reserved
from ..settings import NamespaceSettings
from ..views import PREPARE, Observation
from .config_map import MAX_BYTES, TooLarge, config_map
from .environment import judges
from .snapshot import plan_config_map
from .work import Spec, merged_template, storage_of, work_of

MAX_COPIES = 32
"""Above the suites of an evaluation and the stages of a plan together."""
_ASK = "ask who runs the operator to allow it for this namespace"


def forbidden(observation: Observation) -> tuple[Problem, ...]:
    """Every fault, by field. Empty for a spec that cannot be parsed: then that is the problem."""
    try:
        spec = parsed(observation.run).spec
    except ManifestError:
        return ()
    settings = observation.settings
    problems = [*_storage(spec, settings), *_sources(spec, settings), *_judges(spec)]
    for path, compute in _computes(spec):
        if compute.pod_template is not None:
            problems += _placement(f"{path}.podTemplate", compute.pod_template, settings)
    problems += _devices(spec, observation)
    return tuple(problems or _too_large(observation))


def _computes(spec: Spec) -> Iterator[tuple[str, StageCompute]]:
    """Every ``compute`` of a spec, with its path."""
    if spec.compute is not None:
        yield "spec.compute", spec.compute
    for name in ("warm_start", "feedback_model", "synthesis", "reward_model", "policy", "evaluation"):
        compute = getattr(getattr(spec, name, None), "compute", None)
        if isinstance(compute, StageCompute):
            field = type(spec).model_fields[name]
            yield f"spec.{field.alias}.compute", compute


# -- pods ------------------------------------------------------------------------------------------------------------


def _placement(path: str, wish: Placement, settings: NamespaceSettings) -> Iterator[Problem]:
    """What the settings use themselves is allowed, too."""
    own = settings.pod_template or PodTemplate()
    for field, found, allowed in (
        ("image", wish.image, (settings.image, own.image, *settings.allowed_images)),
        ("priorityClassName", wish.priority_class_name, (own.priority_class_name, *settings.allowed_priority_classes)),
        ("runtimeClassName", wish.runtime_class_name, (own.runtime_class_name, *settings.allowed_runtime_classes)),
    ):
        yield from _named(f"{path}.{field}", found, [pattern for pattern in allowed if pattern])
    for index, toleration in enumerate(wish.tolerations):
        place, allowed = f"{path}.tolerations[{index}].key", settings.allowed_tolerations
        if toleration.key:
            yield from _named(place, toleration.key, allowed)
        elif "*" not in allowed:
            yield Problem(place, "nothing, which tolerates every taint", _expected(allowed), _ASK)
    if isinstance(wish, PodTemplate):
        volumes = {volume.name for volume in overlaid(settings.pod_template or PodTemplate(), wish).volumes}
        yield from (Problem(f"{path}.{p.path}", p.found, p.expected, p.advice) for p in reserved(wish, volumes))


def _named(path: str, found: str | None, allowed: Iterable[str]) -> Iterator[Problem]:
    if found is not None and not any(fnmatchcase(found, pattern) for pattern in allowed):
        yield Problem(path, f'"{found}"', _expected(allowed), _ASK)


def _expected(allowed: Iterable[str]) -> str:
    return " or ".join(allowed) or "none: the namespace's settings allow no other"


# -- devices ---------------------------------------------------------------------------------------------------------


def _devices(spec: Spec, observation: Observation) -> Iterator[Problem]:
    """A stage that asks for more than the namespace ever has would wait for ever. One that is done asks no more."""
    limit = observation.settings.limits.max_devices
    if limit is None or observation.plan is None:
        return
    done = {(stage.name, stage.key) for stage in observation.run.status.stages if stage.artifact is not None}
    found: dict[str, int] = {}
    for stage in observation.plan.stages:
        each = stage.compute.devices_per_node
        wanted = (stage.compute.nodes or 1) * (observation.settings.devices_per_node if each is None else each)
        if wanted > limit and (stage.name, stage.key) not in done:
            path = _compute_path(spec, stage.name)
            found[path] = max(wanted, found.get(path, 0))
    for path, wanted in found.items():
        yield Problem(
            f"{path}.devicesPerNode",
            f"{wanted} devices for a stage, all nodes together",
            f"at most {limit}: limits.maxDevices of the namespace's settings",
            _ASK,
        )


def _compute_path(spec: Spec, stage: str) -> str:
    """Where a stage's devices are said: in its own compute, else in the run's."""
    name = stage.replace("-", "_")
    own = getattr(getattr(spec, name, None), "compute", None)
    if isinstance(own, StageCompute) and (own.devices_per_node, own.nodes) != (None, None):
        return f"spec.{type(spec).model_fields[name].alias}.compute"
    return "spec.compute"


# -- storage and secrets ---------------------------------------------------------------------------------------------


def _storage(spec: Spec, settings: NamespaceSettings) -> Iterator[Problem]:
    storage = storage_of(spec, settings)
    if storage is None:
        advice = "name a store, such as {uri: s3://bucket/prefix, secretName: ...}"
        yield Problem("spec.storage", "nothing, and the namespace's settings name no store either", "a store", advice)
        return
    template = merged_template(settings, spec.compute or Compute())
    yield from _mounted("spec.storage.uri", storage.uri, template, written=True)
    if spec.storage is None:
        return
    for index, store in enumerate(spec.storage.read_from):
        path = f"spec.storage.readFrom[{index}].uri"
        if not any(store.uri.startswith(prefix) for prefix in settings.allowed_read_from):
            expected = " or ".join(f"{prefix}..." for prefix in settings.allowed_read_from) or _expected(())
            yield Problem(path, f'"{store.uri}"', expected, _ASK)
        yield from _mounted(path, store.uri, template, written=False)


def _sources(spec: Spec, settings: NamespaceSettings) -> Iterator[Problem]:
    """A source in a bucket is read with the key of a store that the run may read: any other place would be a way
    around what ``allowedReadFrom`` allows."""
    storage = storage_of(spec, settings)
    if storage is None:
        return
    stores = [storage.uri, *(store.uri for store in storage.read_from)]
    for path, uri in named_sources(spec):
        if uri.startswith("s3:") and _is_elsewhere(uri, stores):
            buckets = [f"{store}/..." for store in stores if store.startswith("s3:")]
            expected = " or ".join(buckets) or "a source below a store of spec.storage.readFrom"
            advice = "list the store that holds it in spec.storage.readFrom, with its secretName, or move the data"
            yield Problem(path, f'"{uri}"', expected, advice)


def _is_elsewhere(uri: str, stores: Sequence[str]) -> bool:
    try:
        return store_of(uri, stores) is None
    except ValueError:  # one of them is no place in a bucket: prepare, which reads it, says so
        return False


def _mounted(path: str, uri: str, template: PodTemplate, *, written: bool) -> Iterator[Problem]:
    """A folder as a store must be on a volume that outlives the pod."""
    if not uri.startswith("file://"):
        return
    folder = PurePosixPath(unquote(urlsplit(uri).path))
    lasting = {volume.name for volume in template.volumes if volume.persistent_volume_claim or volume.csi}
    places = [
        mount.mount_path
        for mount in template.volume_mounts
        if mount.name in lasting and not (written and mount.read_only)
    ]
    if ".." in folder.parts or not any(folder.is_relative_to(place) for place in places):
        advice = "mount a claim by spec.compute.podTemplate.volumes and volumeMounts, or name an s3:// store"
        yield Problem(path, f'"{uri}"', f"a folder in {' or '.join(places) or 'a mounted claim'}", advice)


def _judges(spec: Spec) -> Iterator[Problem]:
    """One key for one place: a key is never sent to another endpoint than its own."""
    found = list(judges(spec))
    keyed = next(((judge.endpoint, judge.secret_name) for _, judge in found if judge.secret_name), None)
    if keyed is None:
        return
    for path, judge in found:
        if (judge.endpoint, judge.secret_name) != keyed:
            shown = f"{judge.endpoint} with secretName {judge.secret_name or 'none'}"
            advice = "judges with different keys go into runs of their own"
            yield Problem(path, shown, f"{keyed[0]} with secretName {keyed[1]}", advice)


# -- sizes -----------------------------------------------------------------------------------------------------------


def _too_large(observation: Observation) -> Iterator[Problem]:
    """Documents that fit into no ConfigMap. A plan repeats a run's data in every suite and stage, at most so often."""
    plan = observation.plan
    if plan is None or len(json.dumps(observation.run.document)) * MAX_COPIES < MAX_BYTES:
        return
    try:
        config_map(work_of(observation, StartAttempt(PREPARE, None, 1)), observation)
        if plan.digest is not None:
            plan_config_map(observation, plan)
    except TooLarge as error:
        yield Problem("spec", "a plan too large for a ConfigMap", advice=str(error))
