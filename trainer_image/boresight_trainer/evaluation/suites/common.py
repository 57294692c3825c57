"""What suites that compare answers share: the identity of a comparison, and how sample files name what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight_api.base import canonical_json, semantic_form, sha256_hex
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import EvaluateConfig

from ...data.records import Prompt
from ..suite import Answer, TooLong, document_of, prompt_key, rows_digest


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


def check_lengths(suite: str, config: EvaluateConfig, ids: Sequence[str], *given: Sequence[Answer | TooLong]) -> None:
    """Rows that some model was not asked for their length are invalid rows of the suite.

    ``given``: for each model, in the order of ``ids``. Raises StageFailure (InvalidData) if the share of invalid rows
    is above ``maxInvalidPercent``, or no row is left.
    """
    found = [
        (name, max(long, key=lambda one: one.tokens - one.limit))
        for name, answers in zip(ids, zip(*given, strict=True), strict=True)
        if (long := [answer for answer in answers if isinstance(answer, TooLong)])
    ]
    if found and (len(found) == len(ids) or 100 * len(found) > config.max_invalid_percent * len(ids)):
        name, worst = max(found, key=lambda entry: entry[1].tokens - entry[1].limit)
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f'suite "{suite}": row {name}: found a prompt of {worst.tokens} tokens, expected at most {worst.limit} '
            f"(maxLength or the model's context, less maxTokens); {len(found)} of {len(ids)} rows are too long "
            f"(maxInvalidPercent {config.max_invalid_percent}). Shorten them, raise maxLength up to the model's "
            "context, or lower maxTokens",
        )


def _content_key(prompt: Prompt) -> str:
    constraints = [dict(constraint) for constraint in prompt.constraints]
    return prompt_key(prompt) + sha256_hex(canonical_json(constraints))
