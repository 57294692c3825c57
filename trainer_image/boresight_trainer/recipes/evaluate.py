"""Evaluation: models side by side on the same prompts, decoding settings and engine; every score with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boresight_api.artifact import ArtifactKind
from boresight_api.base import semantic_form, sha256_hex
from boresight_api.execution import StagePart
from boresight_api.stages import EvaluateConfig

from ..evaluation import results
from ..evaluation.build import build_suites
from ..evaluation.models import ModelShelf, identity_of
from ..evaluation.suite import Answer, Ask, Bench, Suite, SuiteReport, TooLong, prompt_key
from ..evaluation.suites.verifiable import reference_model
from ..stage import StageContext, StageResult
from ..telemetry.metrics import EVALUATED


def run(context: StageContext, config: EvaluateConfig) -> StageResult:
    """Read the suites' rows, let every model answer, run the suites, write the result files."""
    built = build_suites(context, config)
    shelf = ModelShelf(context, config)
    answers = answer_all(shelf, config, [entry.suite for entry in built])
    bench = Bench(config, shelf, answers)
    is_shard = context.stage.execution.part is StagePart.SHARD
    found = [run_suite(context, entry.suite, bench) for entry in built if not (is_shard and entry.asks_endpoint)]
    if is_shard:
        return StageResult(ArtifactKind.EVALUATION)  # the merge does the rest, from everybody's batches
    document = results.results_document(
        found,
        configuration=semantic_form(config),
        models=describe_models(shelf, config),
    )
    results.write(context.output, document, found)
    metrics = {
        "results": results.status_rows(found),
        "slices": results.slice_rows(found),
        "fitness": document["fitness"],
        "comparisonDigests": document["comparison_digest"],
        "decodingDigest": document["decoding_digest"],
        "details": document["details"],
    }
    sources = tuple(source for entry in built for source in entry.sources)
    return StageResult(ArtifactKind.EVALUATION, metrics, results.headline(found), sources)


def answer_all(
    shelf: ModelShelf, config: EvaluateConfig, suites: Sequence[Suite]
) -> dict[str, dict[str, Answer | TooLong]]:
    """``[model][prompt_key]``: every model answers the union of the suites' prompts once.

    The model that scores fluency comes last, so that it is still in memory when the suites begin.
    """
    prompts = {prompt_key(prompt): prompt for suite in suites for prompt in suite.prompts}
    if not prompts:
        return {}
    asks = [Ask(prompt.id, prompt.messages) for prompt in prompts.values()]
    reference = reference_model(config.candidate, config.baselines)
    answers: dict[str, dict[str, Answer | TooLong]] = {}
    for named in sorted((config.candidate, *config.baselines), key=lambda model: model is reference):
        given = shelf.open(named.model).generate(asks, config.sampling, purpose="evaluation")
        answers[named.name] = dict(zip(prompts, given, strict=True))
    return answers


def run_suite(context: StageContext, suite: Suite, bench: Bench) -> SuiteReport:
    """Run one suite; log its scores and count its items."""
    context.stop.check()
    result = suite.run(bench)
    context.progress.log(log_record(result))
    for sample in result.samples:
        first = next(iter(sample.metrics.values()))
        EVALUATED.labels(result.name, "invalid" if first is None else "scored").inc()
    return result


def log_record(result: SuiteReport) -> dict[str, Any]:
    """The suite's whole-data scores as one line of ``metrics.jsonl``."""
    scores = {
        f"{row.name}/{row.candidate}" + (f"-vs-{row.baseline}" if row.baseline else ""): row.estimate.value
        for row in result.rows
        if row.slice is None
    }
    return {"suite": result.name, "unfit": bool(result.unfit), **scores}


def describe_models(shelf: ModelShelf, config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """What each compared model is: identity, source, digest of the chat template in use, system prompt."""
    described = {}
    for named in (config.candidate, *config.baselines):
        chat = shelf.chat(named.model)
        described[named.name] = {
            "identity": identity_of(named.model),
            "uri": named.model.uri,
            "chat_template_sha": sha256_hex(chat.template.encode()),
            "system_instruction": named.model.system_prompt,
            "default_system_instruction": chat.default_system_prompt,
        }
    return described
