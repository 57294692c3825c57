"""Environment of a stage's container. Ours first, so that a run may refer to it; and ours wins over equal names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from boresight_api.sources import JudgeSource
from boresight_api.spec import AlignmentRunSpec, EvalRunSpec

from .service import rendezvous
from .volumes import CA_FILE, HOME
from .work import Spec, Work

COMPLETION_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
JUDGE_KEY = "JUDGE_API_KEY"
"""Key of a judge's Secret."""


def environment(work: Work) -> list[dict[str, Any]]:
    """Secrets by reference only."""
    ours = {item["name"]: item for item in _ours(work)}
    users = [
        entry.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        for entry in work.template.env
    ]
    return [*ours.values(), *(item for item in users if item["name"] not in ours)]


def _ours(work: Work) -> Iterator[dict[str, Any]]:
    yield _field("BORESIGHT_POD_UID", "metadata.uid")
    yield _value("BORESIGHT_RUN", work.run.name)
    yield _value("BORESIGHT_RUN_UID", work.run.uid)
    if pinned := re.search(r"@(sha256:[0-9a-f]{64})$", work.image):
        yield _value("BORESIGHT_IMAGE_DIGEST", pinned.group(1))
    yield _value("HOME", HOME)
    yield from _network(work)
    yield from _store(work)
    yield from _hub(work)
    if work.stage is not None and work.stage.recipe == "evaluate" and (secret := judge_secret(work.spec)):
        yield _secret("BORESIGHT_JUDGE_API_KEY", secret, JUDGE_KEY)
    if work.coupled:
        for name, value in rendezvous(work).items():
            yield _value(name, value)
        yield _field("NODE_RANK", COMPLETION_INDEX)


def _store(work: Work) -> Iterator[dict[str, Any]]:
    storage = work.storage
    if storage.endpoint:
        yield _value("AWS_ENDPOINT_URL_S3", storage.endpoint)
    if storage.secret_name:
        yield _secret("AWS_ACCESS_KEY_ID", storage.secret_name, "AWS_ACCESS_KEY_ID")
        yield _secret("AWS_SECRET_ACCESS_KEY", storage.secret_name, "AWS_SECRET_ACCESS_KEY")
        yield _secret("AWS_SESSION_TOKEN", storage.secret_name, "AWS_SESSION_TOKEN", optional=True)


def _hub(work: Work) -> Iterator[dict[str, Any]]:
    if work.hub.endpoint:
        yield _value("HF_ENDPOINT", work.hub.endpoint)
    if work.hub.secret_name:
        yield _secret("HF_TOKEN", work.hub.secret_name, "HF_TOKEN")


def _network(work: Work) -> Iterator[dict[str, Any]]:
    """Proxies in both spellings (curl reads one, Python the other), and the certificates to trust."""
    if (proxy := work.compute.proxy) is not None:
        for name in ("http_proxy", "https_proxy", "no_proxy"):
            if value := getattr(proxy, name):
                yield _value(name, value)
                yield _value(name.upper(), value)
    if work.compute.ca_bundle is not None:
        yield _value("BORESIGHT_CA_BUNDLE", CA_FILE)


def judge_secret(spec: Spec) -> str | None:
    """The Secret of the run's judges behind endpoints; :func:`.allowed.forbidden` lets pass only one."""
    return next((judge.secret_name for _, judge in judges(spec) if judge.secret_name), None)


def judges(spec: Spec) -> Iterator[tuple[str, JudgeSource]]:
    """Judges behind endpoints, with the paths of their fields."""
    if isinstance(spec, EvalRunSpec):
        own, path, suites = spec.judge, "spec", spec.suites
    elif isinstance(spec, AlignmentRunSpec) and spec.evaluation is not None:
        own, path, suites = None, "spec.evaluation", spec.evaluation.suites
    else:
        return
    found = [(f"{path}.judge", own), *((f"{path}.suites[{i}].judge", suite.judge) for i, suite in enumerate(suites))]
    yield from ((place, judge) for place, judge in found if judge is not None and judge.endpoint is not None)


def _value(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _secret(name: str, secret: str, key: str, *, optional: bool = False) -> dict[str, Any]:
    reference = {"name": secret, "key": key, **({"optional": True} if optional else {})}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}
