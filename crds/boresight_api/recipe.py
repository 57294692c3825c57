"""Recipes: the version of every stage's recipe, and the defaults of a manifest, frozen together under one number.

Defaults are not in the CRD's schema (the API server would freeze them into old objects only) but here, as documents
in the manifest's own words. An edit that changes a key or a result is a new version: a run keeps its first plan's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

CRITIQUE_REQUEST = (
    "##Prompt: {prompt}\n\n##Response: {response}\n\nGive a critique of this response and advice for its refinement."
)
REFINEMENT_REQUEST = "{critique}\n\nRewrite your response by this feedback. Give only the new response."

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Defaults:
    """What a manifest means where it says nothing."""

    seed: int
    method: Document
    data: Document
    """``maxInvalidPercent`` and ``holdoutSplit``."""
    training: Document
    """Of every training stage, where ``stage_training`` says nothing else."""
    stage_training: Mapping[str, Document]
    """By stage."""
    learning_rate: Mapping[str, Mapping[str, str]]
    """By stage and tuning."""
    lora: Document
    generation: Document
    """``engine``, ``batchSize``, ``precision``, ``maxLength``."""
    sampling: Document
    evaluation_sampling: Document
    """What differs from ``sampling`` in an evaluation."""
    synthesis: Document
    filters: Document
    dpo: Document
    beta: Mapping[str, str]
    """DPO's beta, by loss."""
    export: Document
    suites: tuple[Document, ...]
    templates: Document


@dataclass(frozen=True)
class Recipe:
    """One version of everything that decides a result beside the manifest."""

    stages: Mapping[str, int]
    """Recipe of a stage -> its version, which enters the key."""
    defaults: Defaults


_VERSION_1 = Recipe(
    stages=MappingProxyType({"sft": 1, "synthesize": 1, "dpo": 1, "evaluate": 1}),
    defaults=Defaults(
        seed=42,
        method={"feedback": "Language", "algorithm": "DPO"},
        data={"maxInvalidPercent": "1", "holdoutSplit": {"percent": "2", "maxRows": 1000}},
        training={
            "epochs": 1,
            "schedule": "Cosine",
            "warmupPercent": "3",
            "globalBatch": 64,
            "weightDecay": "0",
            "beta1": "0.9",
            "beta2": "0.95",
            "maxGradNorm": "1",
            "precision": "Auto",
            "maxLength": 4096,
        },
        stage_training={
            "warm-start": {"epochs": 2, "tuning": "LoRA"},
            "feedback-model": {"epochs": 3, "tuning": "LoRA"},
            "policy": {"epochs": 2, "tuning": "Full"},
        },
        learning_rate={
            "warm-start": {"LoRA": "1e-4", "Full": "1e-5"},
            "feedback-model": {"LoRA": "1e-4", "Full": "1e-5"},
            "policy": {"LoRA": "1e-5", "Full": "1e-6"},
        },
        lora={"rank": 16, "alpha": 32, "layers": "All"},
        generation={"engine": "Transformers", "batchSize": 32, "precision": "Auto", "maxLength": 4096},
        sampling={"temperature": "1", "topP": "1", "topK": 0, "repetitionPenalty": "1", "maxTokens": 512},
        evaluation_sampling={"temperature": "0"},
        synthesis={"samplesPerPrompt": 1, "critiquesPerResponse": 1, "refineFrom": "ResponseAndCritique"},
        filters={
            "identical": "Drop",
            "truncated": "Drop",
            "refusal": "Drop",
            "unparsable": "Drop",
            "keepIt": "Drop",
            "leaked": "Drop",
            "minTokens": 1,
            "acceptance": "None",
        },
        dpo={"loss": "Sigmoid"},
        beta={"Sigmoid": "0.1", "IPO": "0.1", "Hinge": "0.1", "Robust": "0.1", "RPO": "0.1", "SimPO": "2"},
        export={"form": "Merged", "precision": "BF16"},
        suites=({"name": "Holdout"},),
        templates={"critiqueRequest": CRITIQUE_REQUEST, "refinementRequest": REFINEMENT_REQUEST},
    ),
)

RECIPES: dict[str, Recipe] = {"1": _VERSION_1}
"""Every version that this release can run."""

NEWEST = "1"
"""What a run gets whose manifest names no version."""
