"""The three kinds of runs as the API server has them, and the words by which users name them."""

from __future__ import annotations

from .api import Resource

GROUP, VERSION = "boresight.dev", "v1alpha1"
RETRY_ANNOTATION = f"{GROUP}/retry"
RUN_UID_LABEL = f"{GROUP}/run-uid"
STAGE_LABEL = f"{GROUP}/stage"
ATTEMPT_LABEL = f"{GROUP}/attempt"
PART_LABEL = f"{GROUP}/part"
RANK_ANNOTATION = "batch.kubernetes.io/job-completion-index"
"""On the pods of a stage that has several; a pod that is alone is rank 0."""

RUNS = (
    Resource(GROUP, VERSION, "alignmentruns", "AlignmentRun"),
    Resource(GROUP, VERSION, "feedbacksyntheses", "FeedbackSynthesis"),
    Resource(GROUP, VERSION, "evalruns", "EvalRun"),
)
BY_KIND = {resource.kind: resource for resource in RUNS}
SHORT_NAMES = ("arun", "fsyn", "eval")
WORDS = {
    word: resource
    for resource, short in zip(RUNS, SHORT_NAMES, strict=True)
    for word in (resource.plural, resource.kind.lower(), short)
}
"""What may stand before the slash in ``kind/name``."""
