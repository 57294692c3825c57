"""The Job of an attempt. It retries nothing by itself: attempts, budgets and deadlines are the operator's."""

from __future__ import annotations

from typing import Any

from .. import names
from ..api import JOBS, Object, Resource
from .failure_policy import pod_failure_policy
from .labels import attempt_annotations, attempt_labels, owned
from .pod import pod_template
from .work import Work

PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
"""Kueue's, of a WorkloadPriorityClass."""


def job(work: Work) -> tuple[Resource, Object]:
    """No TTL (it could remove an outcome that nobody has read) and no deadline (an eviction would restart it)."""
    spec = {
        "completions": work.nodes,
        "parallelism": work.nodes,
        "completionMode": "Indexed" if work.nodes > 1 else "NonIndexed",
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": pod_failure_policy(independent=work.independent),
        **_backoff(work),
        **({"suspend": True} if work.queue else {}),
        "template": pod_template(work),
    }
    labels = {**attempt_labels(work), **_queue_labels(work)}
    return JOBS, owned(JOBS, work.run, work.name, {"spec": spec}, labels=labels, annotations=attempt_annotations(work))


def _backoff(work: Work) -> dict[str, Any]:
    """None: every further try is an attempt with a number, a place in the history and a charge to a budget.

    A limit per index leaves the Job's own limit at its default, for a limit of 0 there would end all indexes with the
    first that fails.
    """
    return {"backoffLimitPerIndex": 0} if work.independent else {"backoffLimit": 0}


def _queue_labels(work: Work) -> dict[str, str]:
    if not work.queue:
        return {}
    priority = work.compute.workload_priority_class_name
    return {names.QUEUE_LABEL: work.queue, **({PRIORITY_LABEL: priority} if priority else {})}
