"""Result files in lm-evaluation-harness' layout, and the rows that a run's status shows. Pure but for :func:`write`.

A suite is a task, a slice of it a subtask. The harness evaluates one model a file; we compare several, so what it
calls the *filter* of a metric names the model (``constraintShare,policy``) or the pair (``winRate,policy-vs-initial``).
Beside ``<metric>`` and ``<metric>_stderr`` stand ``_low``, ``_high`` (95%), ``_n`` and ``_invalid``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.outcome import MAX_OUTCOME_METRICS, Metric

from .measures import DIFFERENCE
from .statistics import CONFIDENCE, Estimate
from .suite import ResultRow, SampleRow, SuiteReport

MAX_HEADLINE = MAX_OUTCOME_METRICS
MAX_METRIC_NAME = 32
"""Of :class:`boresight_api.outcome.Metric`."""
TASK_VERSION = 1
NO_BASELINE = "none"
"""As in :class:`boresight_api.outcome.SuiteResult`."""
RESULTS_NAME = "results.json"


def write(folder: Path, document: Mapping[str, Any], results: Sequence[SuiteReport]) -> None:
    """``results.json`` and one ``samples_<task>.jsonl`` per suite."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / RESULTS_NAME).write_text(text + "\n", encoding="utf-8")
    for result in results:
        with (folder / f"samples_{result.name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(
                json.dumps(sample_line(sample), ensure_ascii=False, allow_nan=False) + "\n" for sample in result.samples
            )


def results_document(
    results: Sequence[SuiteReport],
    *,
    configuration: Mapping[str, Any],
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``results.json``.

    ``configuration`` is the stage's semantic form; ``models[name]`` says what each model is (identity, template
    digest). When and on what it ran stands in the manifest: the same work gives the same bytes.
    """
    return {
        "results": {task: scores for result in results for task, scores in _tasks(result).items()},
        "group_subtasks": {result.name: _subtasks(result) for result in results},
        "configs": {result.name: _task_config(result, configuration) for result in results},
        "versions": {result.name: TASK_VERSION for result in results},
        "n-shot": {result.name: 0 for result in results},
        "higher_is_better": {result.name: _directions(result.rows) for result in results},
        "n-samples": {result.name: _sample_counts(result) for result in results},
        "config": {
            "model": "boresight",
            "model_args": dict(models),
            "batch_size": configuration["batchSize"],
            "gen_kwargs": configuration["sampling"],
            "random_seed": configuration["seed"],
            "confidence": CONFIDENCE,
        },
        "decoding_digest": decoding_digest(configuration),
        "comparison_digest": {result.name: result.comparison_digest for result in results},
        "fitness": {result.name: _fitness(result) for result in results},
        "details": {result.name: dict(result.details) for result in results},
    }


def decoding_digest(configuration: Mapping[str, Any]) -> str:
    """Digest of what decides how answers are drawn, the same for all compared models."""
    names = ("sampling", "engine", "precision", "batchSize", "maxLength", "seed")
    return "sha256:" + sha256_hex(canonical_json({name: configuration[name] for name in names}))


def sample_line(sample: SampleRow) -> dict[str, Any]:
    """One line of a samples file. ``doc_id`` and ``filter`` together are unique."""
    return {
        "doc_id": sample.doc_id,
        "doc": dict(sample.doc),
        "target": sample.target,
        "arguments": dict(sample.arguments),
        "resps": [list(sample.responses)],
        "filtered_resps": list(sample.responses),
        "filter": sample.filter,
        "metrics": list(sample.metrics),
        "doc_hash": _text_digest(json.dumps(dict(sample.doc), sort_keys=True)),
        "prompt_hash": _text_digest(json.dumps(dict(sample.arguments), sort_keys=True)),
        "target_hash": _text_digest(sample.target),
        **sample.details,
        **sample.metrics,
    }


def status_rows(results: Sequence[SuiteReport]) -> list[dict[str, Any]]:
    """The rows of ``status.results``: whole data sets only, numbers as decimal strings; unfit suites are marked.

    An outcome holds the first few only, so headlines come first, then the same measures of the other models.
    """
    rows = [(result, row) for result in results for row in result.rows if row.slice is None]
    leading = {(result.name, row.name) for result, row in rows if row.headline}
    rows.sort(key=lambda item: (not item[1].headline, (item[0].name, item[1].name) not in leading))
    return [_status_row(result, row) for result, row in rows]


def slice_rows(results: Sequence[SuiteReport]) -> list[dict[str, Any]]:
    """As :func:`status_rows`, for parts of the data; each row names its ``slice``."""
    return [
        {**_status_row(result, row), "slice": row.slice}
        for result in results
        for row in result.rows
        if row.slice is not None
    ]


def headline(results: Sequence[SuiteReport]) -> tuple[Metric, ...]:
    """At most 16 numbers for the run's status, suites in order; nothing from an unfit suite."""
    metrics: dict[str, str] = {}
    for result in results:
        for row in result.rows:
            if row.headline and not result.unfit and row.estimate.value is not None:
                metrics[_headline_name(row, metrics)] = decimal(row.estimate.value)
    return tuple(Metric(name=name, value=value) for name, value in metrics.items())[:MAX_HEADLINE]


def _headline_name(row: ResultRow, taken: Collection[str]) -> str:
    """``constraintShare``, ``constraintShareVsInitial``; numbered from the second suite that has the same."""
    name = row.name if row.baseline is None else f"{row.name.removesuffix(DIFFERENCE)}Vs{_camel(row.baseline)}"
    for suffix in ("", *map(str, range(2, MAX_HEADLINE * MAX_HEADLINE))):
        short = name[: MAX_METRIC_NAME - len(suffix)] + suffix
        if short not in taken:
            return short
    raise AssertionError("more headline rows than a configuration can name")


def decimal(value: float) -> str:
    """Four decimals; no negative zero."""
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _tasks(result: SuiteReport) -> dict[str, dict[str, Any]]:
    tasks: dict[str, dict[str, Any]] = {result.name: {"alias": result.name}}
    for row in result.rows:
        task = result.name if row.slice is None else f"{result.name}/{row.slice}"
        scores = tasks.setdefault(task, {"alias": f" - {row.slice}"})
        scores.update(_scores(row))
    return tasks


def _scores(row: ResultRow) -> dict[str, Any]:
    estimate, where = row.estimate, _filter(row)
    parts = {
        "": estimate.value,
        "_stderr": estimate.stderr,
        "_low": estimate.low,
        "_high": estimate.high,
        "_n": estimate.n,
        "_clusters": estimate.clusters,
        "_invalid": estimate.invalid,
        "_interval": estimate.method.value,
    }
    return {f"{row.name}{suffix},{where}": value for suffix, value in parts.items()}


def _filter(row: ResultRow) -> str:
    return row.candidate if row.baseline is None else f"{row.candidate}-vs-{row.baseline}"


def _subtasks(result: SuiteReport) -> list[str]:
    return list(dict.fromkeys(f"{result.name}/{row.slice}" for row in result.rows if row.slice is not None))


def _task_config(result: SuiteReport, configuration: Mapping[str, Any]) -> dict[str, Any]:
    suite = next(entry for entry in configuration["suites"] if entry["name"] == result.name)
    return {
        "task": result.name,
        "output_type": "generate_until",
        "generation_kwargs": configuration["critiqueSampling" if result.suite == "Holdout" else "sampling"],
        "metric_list": [{"metric": name} for name in dict.fromkeys(row.name for row in result.rows)],
        "num_fewshot": 0,
        "metadata": {"version": TASK_VERSION, "suite": suite, "comparison": dict(result.comparison)},
    }


def _directions(rows: Iterable[ResultRow]) -> dict[str, bool]:
    return {row.name: row.higher_is_better for row in rows if row.higher_is_better is not None}


def _sample_counts(result: SuiteReport) -> dict[str, int]:
    documents = len({sample.doc_id for sample in result.samples})
    return {"original": documents, "effective": documents}


def _fitness(result: SuiteReport) -> dict[str, Any]:
    return {
        "state": "Unfit" if result.unfit else "Fit",
        "reasons": list(result.unfit),
        "warnings": list(result.warnings),
    }


def _status_row(result: SuiteReport, row: ResultRow) -> dict[str, Any]:
    estimate: Estimate = row.estimate
    return {
        "suite": result.name,
        "name": row.name,
        "candidate": row.candidate,
        "baseline": row.baseline or NO_BASELINE,
        "value": _decimal_or_none(estimate.value),
        "low": _decimal_or_none(estimate.low),
        "high": _decimal_or_none(estimate.high),
        "n": estimate.n,
        "invalid": estimate.invalid,
        "unfit": bool(result.unfit),
        "higherIsBetter": row.higher_is_better,
    }


def _decimal_or_none(value: float | None) -> str | None:
    return None if value is None else decimal(value)


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.replace("_", "-").split("-"))


def _text_digest(text: str) -> str:
    return sha256_hex(text.encode())
