"""The three kinds as objects: metadata, spec, status."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, StringConstraints

from .base import API_VERSION, Contract, Name, operational, semantic
from .kubernetes import LabelKey, LabelValue
from .spec import AlignmentRunSpec, EvalRunSpec, FeedbackSynthesisSpec
from .status import RunStatus


class ObjectMeta(Contract):
    """The part of Kubernetes' metadata that we read; the rest is Kubernetes' own and passes unread."""

    model_config = ConfigDict(extra="ignore")

    name: Name = operational()
    """Name, at most 63 characters."""
    namespace: Name | None = operational(None)
    """Namespace."""
    uid: Annotated[str, StringConstraints(max_length=64)] | None = operational(None)
    """Identity of this object, set by the API server."""
    generation: int | None = operational(None, ge=0)
    """Number of the spec's edits, set by the API server."""
    labels: dict[LabelKey, LabelValue] = operational(default_factory=dict, max_length=256)
    """Labels."""
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=262_144)]] = operational(
        default_factory=dict, max_length=256
    )
    """Annotations."""


class AlignmentRun(Contract):
    """Aligns a model from language feedback (or binary preferences): one object, the whole method."""

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of the API."""
    kind: Literal["AlignmentRun"] = operational("AlignmentRun")
    """Always AlignmentRun."""
    metadata: ObjectMeta = operational()
    """Name, labels, annotations."""
    spec: AlignmentRunSpec = semantic()
    """What is wanted."""
    status: RunStatus | None = operational(None)
    """What is."""


class FeedbackSynthesis(Contract):
    """Makes preference pairs: a model answers, a feedback model criticises, the model refines."""

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of the API."""
    kind: Literal["FeedbackSynthesis"] = operational("FeedbackSynthesis")
    """Always FeedbackSynthesis."""
    metadata: ObjectMeta = operational()
    """Name, labels, annotations."""
    spec: FeedbackSynthesisSpec = semantic()
    """What is wanted."""
    status: RunStatus | None = operational(None)
    """What is."""


class EvalRun(Contract):
    """Measures a candidate against baselines, with intervals."""

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of the API."""
    kind: Literal["EvalRun"] = operational("EvalRun")
    """Always EvalRun."""
    metadata: ObjectMeta = operational()
    """Name, labels, annotations."""
    spec: EvalRunSpec = semantic()
    """What is wanted."""
    status: RunStatus | None = operational(None)
    """What is."""


Run = AlignmentRun | FeedbackSynthesis | EvalRun
KINDS: tuple[type[AlignmentRun] | type[FeedbackSynthesis] | type[EvalRun], ...] = (
    AlignmentRun,
    FeedbackSynthesis,
    EvalRun,
)
