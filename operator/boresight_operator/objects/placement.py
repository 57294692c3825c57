"""Node affinity: what a run asks for, and never a node that failed this stage before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boresight_api.podtemplate import Affinity

_NODES = "nodeAffinity"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def affinity(wish: Affinity | None, avoid_nodes: Sequence[str]) -> dict[str, Any]:
    """``affinity`` of the pods; empty if there is nothing to say.

    A pod needs one of the terms, so that every term gets the exclusion. Nodes are named by their objects' names: the
    label ``kubernetes.io/hostname`` may differ from it. A field selector takes one value a requirement.
    """
    result: dict[str, Any] = (
        {} if wish is None else wish.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    )
    if not avoid_nodes:
        return result
    excluded = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in avoid_nodes]
    nodes = result.get(_NODES) or {}
    terms = (nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    wanted = [{**term, "matchFields": [*term.get("matchFields", ()), *excluded]} for term in terms]
    return {**result, _NODES: {**nodes, _REQUIRED: {"nodeSelectorTerms": wanted}}}
