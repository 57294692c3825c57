"""One attempt with everything that decides its objects: what the run says, over what the settings say."""

from __future__ import annotations

from dataclasses import dataclass

from boresight_api.compute import Compute, Resources
from boresight_api.plan import PlannedStage, overlaid
from boresight_api.podtemplate import PodTemplate
from boresight_api.spec import AlignmentRunSpec, EvalRunSpec, FeedbackSynthesisSpec, Hub, Storage

from .. import names
from ..decision import StartAttempt
from ..parsed import parsed
from ..settings import NamespaceSettings
from ..views import Observation, Part, RunView

Spec = AlignmentRunSpec | FeedbackSynthesisSpec | EvalRunSpec
INDEPENDENT_RECIPES = frozenset({"synthesize", "evaluate"})
"""Recipes whose work is made of batches that depend on no other batch, so that their pods need not know each other."""


@dataclass(frozen=True)
class Work:
    """An attempt of ``prepare`` (no ``stage``) or of a planned stage."""

    run: RunView
    spec: Spec
    settings: NamespaceSettings
    start: StartAttempt
    stage: PlannedStage | None
    plan: str | None
    """Digest of the plan, once all keys are known."""
    compute: Compute
    storage: Storage
    hub: Hub

    @property
    def name(self) -> str:
        """Of the Job, its ConfigMap and its Service."""
        start = self.start
        return names.attempt_name(self.run.name, self.run.uid, start.stage, start.key, start.attempt, start.part)

    @property
    def nodes(self) -> int:
        """Pods of the stage; a merge and ``prepare`` are one."""
        return self.stage_nodes if self.works else 1

    @property
    def stage_nodes(self) -> int:
        """``compute.nodes``."""
        return self.compute.nodes or 1

    @property
    def devices(self) -> int:
        """Devices of one pod."""
        if not self.works:
            return 0
        asked = self.compute.devices_per_node
        return self.settings.devices_per_node if asked is None else asked

    @property
    def works(self) -> bool:
        """Whether this is a stage's own work, on devices: neither ``prepare`` nor a merge."""
        return self.stage is not None and self.start.part is Part.WORK

    @property
    def independent(self) -> bool:
        """Several pods that need not know each other: each has its own batches, and a merge follows."""
        return self.nodes > 1 and self.stage is not None and self.stage.recipe in INDEPENDENT_RECIPES

    @property
    def coupled(self) -> bool:
        """Several pods that are the ranks of one process group."""
        return self.nodes > 1 and not self.independent

    @property
    def resources(self) -> Resources:
        """Requests and limits beside devices."""
        if not self.works:
            return self.settings.prepare_resources
        return self.compute.resources or self.settings.resources or Resources()

    @property
    def template(self) -> PodTemplate:
        """What settings and run set of the pods."""
        return merged_template(self.settings, self.compute)

    @property
    def image(self) -> str:
        """Of the stage's container."""
        return self.template.image or self.settings.image

    @property
    def queue(self) -> str | None:
        """Kueue's LocalQueue, if this Job goes through one."""
        if self.devices == 0 and not self.settings.queue_cpu_stages:
            return None
        return self.compute.queue_name or self.run.labels.get(names.QUEUE_LABEL) or self.settings.queue_name or None


def work_of(observation: Observation, start: StartAttempt) -> Work:
    """Raises ManifestError for a spec that cannot be parsed, KeyError for a stage that is not in the plan, and
    ValueError without a store: none of them has an attempt to start (:func:`.allowed.forbidden`)."""
    run, settings, plan = observation.run, observation.settings, observation.plan
    spec = parsed(run).spec
    stage = plan.stage(start.stage) if plan is not None and start.key is not None else None
    storage = storage_of(spec, settings)
    if storage is None:
        raise ValueError("spec.storage: found nothing, and the settings name no store either")
    return Work(
        run=run,
        spec=spec,
        settings=settings,
        start=start,
        stage=stage,
        plan=plan.digest if plan is not None else None,
        compute=(stage.compute if stage is not None else spec.compute) or Compute(),
        storage=storage,
        hub=spec.hub or settings.hub or Hub(),
    )


def storage_of(spec: Spec, settings: NamespaceSettings) -> Storage | None:
    """The run's store, else the namespace's; whole, for half of one and half of another is none."""
    return spec.storage or settings.storage


def merged_template(settings: NamespaceSettings, compute: Compute) -> PodTemplate:
    """The settings' pod template with the run's over it, field by field; lists and maps are replaced."""
    return overlaid(settings.pod_template or PodTemplate(), compute.pod_template)
