"""Whether an object holds exactly what a manager applied."""

from __future__ import annotations

from typing import Any

import pytest
from boresight_operator.applied import holds

BODY: dict[str, Any] = {
    "apiVersion": "boresight.dev/v1alpha1",
    "kind": "AlignmentRun",
    "metadata": {"name": "r", "resourceVersion": "5"},
    "status": {
        "stage": "policy",
        "conditions": [{"type": "Accepted", "status": "True"}, {"type": "Stalled", "status": "False"}],
        "stages": [{"name": "policy", "artifact": {"uri": "s3://x"}, "history": [{"attempt": 1}, {"attempt": 2}]}],
        "sources": [],
    },
}
FIELDS: dict[str, Any] = {
    "f:status": {
        "f:stage": {},
        "f:conditions": {
            'k:{"type":"Accepted"}': {".": {}, "f:type": {}, "f:status": {}},
            'k:{"type":"Stalled"}': {".": {}, "f:type": {}, "f:status": {}},
        },
        "f:stages": {
            'k:{"name":"policy"}': {".": {}, "f:name": {}, "f:artifact": {".": {}, "f:uri": {}}, "f:history": {}}
        },
    }
}


def stored(status: dict[str, Any] | None = None, fields: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """As the API server would hold BODY, beside what another manager has put into it."""
    mine = {
        "manager": "boresight",
        "operation": "Apply",
        "subresource": "status",
        "fieldsV1": fields or FIELDS,
        **entry,
    }
    other = {"manager": "boresight-progress", "operation": "Apply", "subresource": "status", "fieldsV1": {}}
    held = {
        **BODY["status"],
        "percent": 4,
        "conditions": [{"type": "ProgressAvailable", "status": "True"}, *reversed(BODY["status"]["conditions"])],
        **(status or {}),
    }
    return {"metadata": {"resourceVersion": "6", "managedFields": [other, mine]}, "status": held}


def is_held(found: dict[str, Any]) -> bool:
    return holds(found, BODY, "boresight", "status")


def test_what_was_applied_is_recognised_beside_what_others_own_and_in_any_order() -> None:
    assert is_held(stored())


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "synthesis"},
        {"conditions": [{"type": "Accepted", "status": "True"}]},
        {"stages": [{**BODY["status"]["stages"][0], "artifact": {"uri": "s3://y"}}]},
        {"stages": [{**BODY["status"]["stages"][0], "history": [{"attempt": 1}]}]},
        {"stages": []},
    ],
)
def test_another_value_is_not_ours(change: dict[str, Any]) -> None:
    assert not is_held(stored(change))


def test_a_field_that_we_meant_to_remove_is_not_ours() -> None:
    """The stored object has all that we applied, and what an older apply had applied as well."""
    older = {"f:status": {**FIELDS["f:status"], "f:keyMetric": {}}}
    assert not is_held(stored({"keyMetric": "0.5"}, older))


def test_a_field_that_somebody_took_from_us_is_not_ours() -> None:
    taken = {"f:status": {name: value for name, value in FIELDS["f:status"].items() if name != "f:stage"}}
    assert not is_held(stored(fields=taken))


@pytest.mark.parametrize("entry", [{"manager": "kubectl"}, {"operation": "Update"}, {"subresource": ""}])
def test_what_another_one_wrote_is_not_ours(entry: dict[str, Any]) -> None:
    assert not is_held(stored(**entry))


def test_an_object_without_managers_holds_nothing() -> None:
    assert not holds({"metadata": {}, "status": BODY["status"]}, BODY, "boresight", "status")
