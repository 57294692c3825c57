"""What suites that compare answers share: the identity of a comparison, and how sample files name what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight_api.base import canonical_json, semantic_form, sha256_hex
from boresight_api.stages import EvaluateConfig

from ...data.records import Prompt
from ..suite import document_of, prompt_key, rows_digest


def comparison_of(config: EvaluateConfig, prompts: Sequence[Prompt], **more: Any) -> dict[str, Any]:
    """What has to be equal for two results to be comparable. Models are not in it: they are what differs."""
    return {
        "prompts": rows_digest([_content_key(prompt) for prompt in prompts]),
        "engine": config.engine.value,
        "precision": config.precision.value,
        "sampling": semantic_form(config.sampling),
        "batchSize": config.batch_size,
        "maxLength": config.max_length,
        "seed": config.seed,
        **more,
    }


def generation_arguments(config: EvaluateConfig, prompt: Prompt) -> Mapping[str, Any]:
    """``arguments`` of a sample row, as lm-evaluation-harness writes them for ``generate_until``."""
    return {"gen_args_0": {"arg_0": document_of(prompt)["messages"], "arg_1": semantic_form(config.sampling)}}


def _content_key(prompt: Prompt) -> str:
    constraints = [dict(constraint) for constraint in prompt.constraints]
    return prompt_key(prompt) + sha256_hex(canonical_json(constraints))
