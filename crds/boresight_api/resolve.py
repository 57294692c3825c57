"""What a manifest means: the same manifest with every default of its recipe version written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .enums import DataFormat, Task
from .kinds import AlignmentRun, EvalRun, FeedbackSynthesis, Run
from .problems import PlanError, Problem
from .recipe import NEWEST, RECIPES, Defaults, Recipe
from .spec import baseline_name

Document = dict[str, Any]


def recipe_of(run: Run, first_plan: str | None = None) -> tuple[str, Recipe]:
    """Version and recipe of ``run``: as its manifest says, else as its first plan had it, else the newest.

    Raises :class:`PlanError` for a version that this release cannot run.
    """
    version = run.spec.recipe or first_plan or NEWEST
    if version not in RECIPES:
        known = ", ".join(f'"{name}"' for name in RECIPES)
        raise PlanError(
            [Problem("spec.recipe", f'"{version}"', f"one of {known}", "or a release of Boresight that has it")]
        )
    return version, RECIPES[version]


def resolve(run: Run, first_plan: str | None = None) -> Run:
    """``run`` with every default filled in that decides a result. Resolving again changes nothing."""
    version, recipe = recipe_of(run, first_plan)
    spec: Document = run.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec = {"recipe": version, "seed": recipe.defaults.seed, **spec}
    fill = {AlignmentRun: _alignment_run, FeedbackSynthesis: _feedback_synthesis, EvalRun: _eval_run}[type(run)]
    resolved = type(run.spec).model_validate(fill(spec, recipe.defaults))
    return run.model_copy(update={"spec": resolved})


def resolved_manifest(run: Run, first_plan: str | None = None) -> Document:
    """The resolved run as a document that can be applied in place of the manifest: it has the same plan."""
    return {
        "apiVersion": run.api_version,
        "kind": run.kind,
        "metadata": run.metadata.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "spec": resolve(run, first_plan).spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }


def _alignment_run(spec: Document, defaults: Defaults) -> Document:
    method = merged(defaults.method, spec.get("method"))
    model = _model(spec["model"])
    split = {} if spec["data"].get("holdout") else {"holdoutSplit": defaults.data["holdoutSplit"]}
    data = merged({"maxInvalidPercent": defaults.data["maxInvalidPercent"], **split}, spec["data"])
    first = _data(data["feedback"][0], spec["task"], {})
    for name in ("feedback", "holdout", "prompts"):
        if data.get(name):
            data[name] = _mixture(data[name], spec["task"], first)
    resolved = {
        **spec,
        "method": method,
        "model": model,
        "data": data,
        "export": merged(defaults.export, spec.get("export")),
        "policy": _policy(spec.get("policy", {}), method, defaults),
    }
    if "warmStart" in spec:
        resolved["warmStart"] = _trained("warm-start", spec["warmStart"], defaults)
        resolved["warmStart"]["data"] = _mixture(spec["warmStart"]["data"], spec["task"], {})
    language = method["feedback"] == "Language"
    if language:
        feedback_model = _trained("feedback-model", spec.get("feedbackModel", {}), defaults)
        resolved["feedbackModel"] = {**feedback_model, "model": _model(feedback_model.get("model") or spec["model"])}
        resolved["synthesis"] = _synthesis(spec.get("synthesis", {}), defaults)
    suites = spec.get("evaluation", {}).get("suites") or (list(defaults.suites) if language else [])
    if suites:
        critiques = resolved["synthesis"]["critiqueSampling"] if language else defaults.sampling
        evaluation = _evaluation(spec.get("evaluation", {}), critiques, defaults)
        resolved["evaluation"] = {
            **evaluation,
            "suites": [_suite(suite, spec["task"], first, defaults) for suite in suites],
        }
    return resolved


def _feedback_synthesis(spec: Document, defaults: Defaults) -> Document:
    resolved = _synthesis({"maxInvalidPercent": defaults.data["maxInvalidPercent"], **spec}, defaults)
    first = _data(spec["prompts"][0], spec["task"], {})
    if "holdoutSplit" in spec:
        resolved["holdoutSplit"] = merged(defaults.data["holdoutSplit"], spec["holdoutSplit"])
    return {
        **resolved,
        "model": _model(spec["model"]),
        "feedbackModel": _model(spec["feedbackModel"]),
        "prompts": _mixture(spec["prompts"], spec["task"], first),
    }


def _eval_run(spec: Document, defaults: Defaults) -> Document:
    resolved = _evaluation(
        {"maxInvalidPercent": defaults.data["maxInvalidPercent"], **spec}, defaults.sampling, defaults
    )
    resolved["candidate"] = {"name": "candidate", **_model(spec["candidate"])}
    resolved["baselines"] = [
        {"name": baseline_name(number), **_model(model)}
        for number, model in enumerate(spec.get("baselines", ()), start=1)
    ]
    if "feedbackModel" in spec:
        resolved["feedbackModel"] = _model(spec["feedbackModel"])
    resolved["suites"] = [_suite(suite, spec["task"], {}, defaults) for suite in spec["suites"]]
    return resolved


def _model(model: Document) -> Document:
    return {"trustRemoteCode": "Never", **model}


def _data(entry: Document, task: str, first: Document) -> Document:
    """``entry`` with its format; where it names none it is read as ``first`` is."""
    inherited = () if "format" in entry else ("format", "columns")
    like = {name: first[name] for name in inherited if name in first}
    filled: Document = {"format": DataFormat.ALIGN_ANYTHING.value, "weight": "1", **like, **entry}
    if filled["format"] == DataFormat.ALIGN_ANYTHING:
        filled.setdefault("subset", first.get("subset", SUBSETS[Task(task)]))
    return filled


def _mixture(entries: list[Document], task: str, first: Document) -> list[Document]:
    return [_data(entry, task, first) for entry in entries]


SUBSETS = {
    Task.TEXT_TO_TEXT: "text-to-text",
    Task.TEXT_IMAGE_TO_TEXT: "text-image-to-text",
    Task.TEXT_IMAGE_TO_TEXT_IMAGE: "text-image-to-text-image",
    Task.TEXT_TO_IMAGE: "text-to-image",
    Task.TEXT_AUDIO_TO_TEXT: "text-audio-to-text",
    Task.TEXT_TO_AUDIO: "text-to-audio",
    Task.TEXT_TO_VIDEO: "text-to-video",
    Task.TEXT_VIDEO_TO_TEXT: "text-video-to-text",
}
"""Subset of align-anything that belongs to a task."""


def _trained(stage: str, spec: Document, defaults: Defaults) -> Document:
    """``spec`` with its ``training`` filled in; the learning rate follows from stage and tuning."""
    given = spec.get("training", {})
    training = merged(merged(defaults.training, defaults.stage_training[stage]), given)
    if "lora" in given:
        training["tuning"] = "LoRA"
    if training["tuning"] == "LoRA":
        training["lora"] = merged(defaults.lora, given.get("lora"))
    training.setdefault("learningRate", defaults.learning_rate[stage][training["tuning"]])
    return {**spec, "training": training}


def _policy(spec: Document, method: Document, defaults: Defaults) -> Document:
    resolved = _trained("policy", spec, defaults)
    if method["algorithm"] == "DPO":
        dpo = merged(defaults.dpo, spec.get("dpo"))
        dpo.setdefault("beta", defaults.beta[dpo["loss"]])
        resolved["dpo"] = dpo
    return resolved


def _synthesis(spec: Document, defaults: Defaults) -> Document:
    sampling = merged(defaults.sampling, spec.get("sampling"))
    return {
        **defaults.generation,
        **defaults.synthesis,
        **spec,
        "sampling": sampling,
        "critiqueSampling": merged(sampling, spec.get("critiqueSampling")),
        "refinementSampling": merged(sampling, spec.get("refinementSampling")),
        "filters": merged(defaults.filters, spec.get("filters")),
    }


def _evaluation(spec: Document, critiques: Mapping[str, Any], defaults: Defaults) -> Document:
    sampling = merged(merged(defaults.sampling, defaults.evaluation_sampling), spec.get("sampling"))
    return {
        **defaults.generation,
        **spec,
        "sampling": sampling,
        "critiqueSampling": merged(critiques, spec.get("critiqueSampling")),
    }


def _suite(suite: Mapping[str, Any], task: str, first: Document, defaults: Defaults) -> Document:
    filled = {"label": suite["name"], **suite}
    if suite.get("data"):
        filled["data"] = _mixture(suite["data"], task, first)
    if "holdoutSplit" in suite:
        filled["holdoutSplit"] = merged(defaults.data["holdoutSplit"], suite["holdoutSplit"])
    return filled


def merged(base: Mapping[str, Any], over: Mapping[str, Any] | None) -> Document:
    """``over`` on top of ``base``: mappings are merged, everything else is replaced."""
    result: Document = dict(base)
    for name, value in (over or {}).items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result
