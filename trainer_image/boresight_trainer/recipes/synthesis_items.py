"""What synthesis makes: items with all that was sampled for them, judged by the filters, written as two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from boresight_api.stages import Filters

from ..data.dialogues import prompt_text
from ..data.filters import KEPT, Candidate, Refined, matched_filters, verdict
from ..data.language_feedback import LanguageFeedback, parse_language_feedback
from ..data.pairs import PAIRS_NAME, SYNTHESIS_NAME, chat_json, conversational, write_jsonl
from ..data.records import Prompt
from ..telemetry.metrics import ITEMS
from .refinement import Verified, verify_item
from .speaker import Spoken


@dataclass(frozen=True)
class Item:
    """One way from a prompt to a refined response. ``critique`` and ``refined`` are None while they are not sampled."""

    id: str
    prompt: Prompt
    response_id: str
    response: Spoken
    critique: Spoken | None = None
    refined: Spoken | None = None
    fits: bool = True
    """False if x with y (and c) leaves no room for the next output."""

    @property
    def critique_text(self) -> str:
        """c as it was written; empty without one."""
        return "" if self.critique is None else self.critique.text

    @property
    def refined_text(self) -> str | None:
        """y* as it was written."""
        return None if self.refined is None else self.refined.text

    def candidate(self) -> Candidate:
        """What the filters look at."""
        return Candidate(
            prompt_text=prompt_text(self.prompt),
            response=self.response.text,
            critique=self.critique_text,
            feedback=None if self.critique is None else parse_language_feedback(self.critique.text),
            refined=None
            if self.refined is None
            else Refined(self.refined.text, self.refined.content_tokens, self.refined.finished),
            fits=self.fits,
        )


@dataclass(frozen=True)
class Judged:
    """An item, the filters that match it, what became of it, and what the verifiers find."""

    item: Item
    matched: tuple[str, ...]
    verdict: str
    verified: Verified | None


def verdict_of(item: Item, filters: Filters) -> str:
    """What becomes of an item, as far as it has come: one that is dropped for its critique gets no y*."""
    return verdict(matched_filters(item.candidate(), filters), filters)


def judge(item: Item, filters: Filters) -> Judged:
    """Filter and verify a finished item."""
    matched = matched_filters(item.candidate(), filters)
    verified = verify_item(item.prompt, item.response.text, item.refined_text)
    return Judged(item, matched, verdict(matched, filters), verified)


def count_done(item: Item, filters: Filters) -> None:
    """Count an item to which nothing is added any more."""
    ITEMS.labels(verdict_of(item, filters)).inc()


def write(output: Path, judged: Sequence[Judged], constants: dict[str, Any], system_prompt: str | None) -> None:
    """``synthesis.jsonl``: all about every item, and ``constants``; ``pairs.jsonl``: the kept ones for other tools."""
    write_jsonl(output / SYNTHESIS_NAME, ({**record(each), **constants} for each in judged))
    pairs = (
        conversational(
            each.item.id,
            each.item.prompt.messages,
            chosen=each.item.refined.text,
            rejected=each.item.response.text,
            system_prompt=system_prompt,
        )
        for each in judged
        if each.verdict == KEPT and each.item.refined is not None
    )
    write_jsonl(output / PAIRS_NAME, pairs)


def record(judged: Judged) -> dict[str, Any]:
    """A line of ``synthesis.jsonl``. Ids are as sampled, with a terminator if there was one; y and y* score under x."""
    item, verified = judged.item, judged.verified
    feedback = parse_language_feedback(item.critique.text) if item.critique is not None else None
    outputs = {"response": item.response, "critique": item.critique, "refined": item.refined}
    return {
        "id": item.id,
        "promptId": item.prompt.id,
        "prompt": chat_json(item.prompt.messages),
        "response": item.response.text,
        "critique": item.critique and item.critique.text,
        "advice": feedback.advice if isinstance(feedback, LanguageFeedback) else None,
        "refinedResponse": item.refined_text,
        "verdict": judged.verdict,
        "filters": list(judged.matched),
        "constraints": [dict(constraint) for constraint in item.prompt.constraints],
        "responseSatisfied": list(verified.response) if verified is not None else None,
        "refinedSatisfied": list(verified.refined) if verified is not None and verified.refined is not None else None,
        "promptIds": list(item.response.prompt_ids),
        **{f"{name}Ids": output and list(output.token_ids) for name, output in outputs.items()},
        **{f"{name}Finished": output and output.finished for name, output in outputs.items()},
        "seeds": {name: output and output.seed for name, output in outputs.items()},
    }


def mean_tokens(items: Sequence[Item]) -> dict[str, float | None]:
    """Mean length of y, c and y* in tokens, terminators not counted; None where nothing was sampled."""
    lengths = {
        "response": [item.response.content_tokens for item in items],
        "critique": [item.critique.content_tokens for item in items if item.critique is not None],
        "refined": [item.refined.content_tokens for item in items if item.refined is not None],
    }
    return {name: round(fmean(values), 2) if values else None for name, values in lengths.items()}
