"""Examples for the report: what happened to single prompts, from the records of synthesis and evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .headline import model_word
from .model import Example, Step

SHOWN = 6
KEPT = "kept"
"""Verdict of an item that became a pair; any other is the name of the filter that dropped it."""


def chosen(ids: Iterable[str], count: int = SHOWN) -> list[str]:
    """``count`` of ``ids`` by a hash of each: the same in every report, and nobody's favourites."""
    return sorted(ids, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[:count]


def conversation(messages: Sequence[Mapping[str, Any]]) -> str:
    """A prompt as text: one user turn as it is, a longer conversation with its roles."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"[{message['role']}] {message['content']}" for message in messages)


def final_examples(samples: Sequence[Mapping[str, Any]], candidate: str, count: int = SHOWN) -> tuple[Example, ...]:
    """Held-out prompts with every model's answer, from ``samples_<suite>.jsonl`` of a Verifiable suite."""
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_prompt.setdefault(str(sample["doc"]["id"]), []).append(sample)
    return tuple(_final_example(name, by_prompt[name], candidate) for name in chosen(by_prompt, count))


def _final_example(name: str, samples: Sequence[Mapping[str, Any]], candidate: str) -> Example:
    order = {"initial": 0, "warm-start": 1, candidate: 3}
    roles = {"warm-start": "refined", candidate: "final"}
    answers = [
        Step(
            model_word(sample["filter"]),
            str(sample["resps"][0][0]),
            roles.get(sample["filter"], "response"),
            _satisfied(sample.get("satisfied")),
        )
        for sample in sorted(samples, key=lambda s: order.get(s["filter"], 2))
        if sample["resps"][0]  # a prompt too long for a model has no answer of it
    ]
    prompt = Step("Prompt x", conversation(samples[0]["doc"]["messages"]), "prompt")
    return Example(name, (prompt, *answers))


def synthesis_examples(records: Sequence[Mapping[str, Any]], count: int = SHOWN) -> tuple[Example, ...]:
    """Prompts with y, c and y*, from a synthesis artifact's ``synthesis.jsonl``: kept pairs, and two dropped ones."""
    by_id = {str(record["id"]): record for record in records}
    dropped = chosen((name for name, record in by_id.items() if record["verdict"] != KEPT), 2)
    kept = chosen((name for name, record in by_id.items() if record["verdict"] == KEPT), count - len(dropped))
    return tuple(_synthesis_example(name, by_id[name]) for name in (*kept, *dropped))


def _synthesis_example(name: str, record: Mapping[str, Any]) -> Example:
    parts = (
        ("Prompt x", conversation(record["prompt"]), "prompt", None),
        ("Response y", record["response"], "response", record.get("responseSatisfied")),
        ("Critique c", record["critique"], "critique", None),
        ("Refined response y*", record["refinedResponse"], "refined", record.get("refinedSatisfied")),
    )
    steps = tuple(Step(label, text, role, _satisfied(v)) for label, text, role, v in parts if text is not None)
    verdict = str(record["verdict"])
    return Example(name, steps, "kept as a pair" if verdict == KEPT else f"dropped: {verdict}")


def _satisfied(verdicts: object) -> tuple[int, int] | None:
    if not isinstance(verdicts, list) or not verdicts:
        return None
    return sum(bool(verdict) for verdict in verdicts), len(verdicts)
