"""What the API has and this release cannot run yet: found before anything starts, named by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from .base import Contract, format_decimal
from .buckets import BucketPlace
from .kinds import AlignmentRun, EvalRun, Run
from .problems import Problem

_LATER = "this release does not run it yet"

NOT_YET = """\
The API is complete so that manifests stay valid; the plan refuses, by field, what cannot be run yet: tasks other than
TextToText, `method.algorithm: PPO` (with `rewardModel` and `policy.ppo`), `engine: VLLM`, the suites AMU and AMG,
`filters.acceptance` other than None, `pvc://` sources, more than one device, more than one node for stages other than
synthesis and evaluation, and strategies other than Auto and Single.
"""
"""For the reference page."""

_RUNNABLE: dict[str, tuple[object, ...]] = {
    "engine": ("Transformers",),
    "strategy": ("Auto", "Single"),
    "acceptance": ("None",),
    "nodes": (1,),
    "devicesPerNode": (0, 1),
}
"""Fields, wherever they stand in a spec, that can have more values than this release runs."""

_SHARDED = {"spec.synthesis.compute.nodes", "spec.evaluation.compute.nodes"}
"""Where ``nodes`` counts pods that need not know each other."""

_SCHEMES = ("hf", "s3", "file", "embedded", "artifact")


def unrunnable(run: Run) -> Iterator[Problem]:
    """Everything in ``run`` that this release cannot do."""
    spec: dict[str, Any] = run.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if spec["task"] != "TextToText":
        yield Problem("spec.task", f'"{spec["task"]}"', "TextToText", _LATER)
    if isinstance(run, AlignmentRun) and spec.get("method", {}).get("algorithm") == "PPO":
        yield Problem("spec.method.algorithm", '"PPO"', "DPO", _LATER)
    sharded = _SHARDED if isinstance(run, AlignmentRun) else {"spec.compute.nodes"}
    for path, name, value in _leaves(spec, "spec"):
        if name in _RUNNABLE and path not in sharded and value not in _RUNNABLE[name]:
            yield Problem(path, _found(value), " or ".join(map(str, _RUNNABLE[name])), _LATER)
    for path, uri in named_sources(run.spec):
        yield from _uri(path, uri)
    yield from _suites(run)


def named_sources(spec: Contract) -> Iterator[tuple[str, str]]:
    """Every URI of a spec that names something to read, with the path of its field: all but those of stores."""
    for path, name, value in _leaves(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True), "spec"):
        if name == "uri" and not path.startswith("spec.storage."):
            yield path, value


def _uri(path: str, uri: str) -> Iterator[Problem]:
    scheme = uri.partition(":")[0]
    if scheme not in _SCHEMES:
        yield Problem(path, f'"{uri}"', " or ".join(f"{name}://" for name in _SCHEMES), _LATER)
    elif scheme == "file" and not uri.startswith("file:///"):
        advice = "a path relative to the manifest works only where the manifest is a file: boresight run FILE"
        yield Problem(path, f'"{uri}"', "file:///absolute/path", advice)
    elif scheme == "s3":
        try:
            BucketPlace.parse(uri)
        except ValueError:
            advice = "name the place itself: no query, no fragment, no account, no .. and no empty part"
            yield Problem(path, f'"{uri}"', "s3://<bucket>/<path>", advice)


def _suites(run: Run) -> Iterator[Problem]:
    """Suites that cannot run, or that lack what they need."""
    if isinstance(run, EvalRun):
        suites, base = run.spec.suites, "spec.suites"
    elif isinstance(run, AlignmentRun) and run.spec.evaluation is not None:
        suites, base = run.spec.evaluation.suites, "spec.evaluation.suites"
    else:
        return
    binary = isinstance(run, AlignmentRun) and run.spec.method is not None and run.spec.method.feedback == "Binary"
    for index, suite in enumerate(suites):
        path = f"{base}[{index}]"
        name = suite.name.value
        if name in {"AMU", "AMG"}:
            yield Problem(f"{path}.name", f'"{name}"', "Holdout, Verifiable or Pairwise", _LATER)
        if name == "Pairwise" and suite.judge is None and not (isinstance(run, EvalRun) and run.spec.judge):
            yield Problem(
                f"{path}.judge", "nothing", "a judge", "add judge: {uri: ...} or judge: {endpoint: ..., model: ...}"
            )
        if name != "Pairwise" and suite.judge is not None:
            yield Problem(f"{path}.judge", "a judge", "none", f"{name} has no judge; remove it")
        for number, entry in enumerate(suite.data):
            if entry.weight not in (None, 1) and suite.holdout_split is None:
                advice = "a repeated row is no new evidence"
                yield Problem(f"{path}.data[{number}].weight", format_decimal(entry.weight or Decimal(0)), "1", advice)
        if name == "Holdout" and binary:
            yield Problem(f"{path}.name", '"Holdout"', "Verifiable or Pairwise", "Holdout measures a feedback model")
        if isinstance(run, EvalRun):
            if name == "Holdout" and run.spec.feedback_model is None:
                yield Problem("spec.feedbackModel", "nothing", "a model", "Holdout measures a feedback model")
            if name == "Pairwise" and not run.spec.baselines:
                yield Problem("spec.baselines", "nothing", "at least one model", "Pairwise compares with it")
            if not suite.data:
                yield Problem(f"{path}.data", "nothing", "at least one source", "an EvalRun has no holdout of its own")
        elif suite.holdout_split is not None:  # an AlignmentRun splits in one place
            yield Problem(f"{path}.holdoutSplit", "a split", "none", "set spec.data.holdoutSplit")


def _leaves(value: object, path: str, name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every scalar of a document with its path and its field's name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}", str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", name)
    else:
        yield path, name, value


def _found(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
