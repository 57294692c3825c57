"""What a data set says of itself: its README, and in the manifest every medium's origin and side of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .make import Made
from .medium import Source
from .sides import side_of

README = "README.md"
_FILES = {
    "warm_start.jsonl": "refinement dialogues (a wrong answer, its critique, a right answer), then plain right answers",
    "feedback.jsonl": "answers, every second one right, with a critique and advice",
    "prompts.jsonl": "questions for the synthesis",
    "preferences.jsonl": "a right and a wrong answer to questions of prompts.jsonl",
    "holdout.jsonl": "feedback that is never trained on, on media of the dev side",
    "dev.jsonl": "questions for choosing settings",
    "eval.jsonl": "questions for measuring models once the settings are chosen: the test side",
}


def media_facts(made: Made) -> dict[str, Any]:
    """For the manifest: sources with their licences, and for every medium what it is of."""
    sources = {medium.source.name: medium.source for medium in made.media.values()}
    return {
        "sources": {name: {"origin": each.origin, "license": each.license} for name, each in sorted(sources.items())},
        "media": {
            path: {"source": medium.source.name, "side": side_of(medium.keys[0]).value, "keys": list(medium.keys)}
            for path, medium in sorted(made.media.items())
        },
    }


def readme(title: str, command: str, made: Made) -> bytes:
    """``README.md``: what the files are, how they are made again, whose the media are."""
    rows = [f"| `{name}` | {len(made.files[name])} | {text} |" for name, text in _FILES.items() if name in made.files]
    used = Counter(medium.source for medium in made.media.values())
    media = [f"| {each.name} | {used[each]} | {each.origin} | {each.license} |" for each in _ordered(used)]
    paragraphs = [
        f"# {title}",
        "Each question has one medium and one right answer, which its `constraints` hold and a program verifies. "
        "Questions, answers, critiques and advice are written by rule; `meta.wrong` says in what way a wrong answer is "
        "wrong. Paths of media are relative to this folder; a file is named by the SHA-256 of its content. Made by",
        f"```sh\n{command} --out FOLDER\n```",
        "The same command with the versions in `manifest.json` makes the same files, byte for byte.",
        "\n".join(["| file | rows | what it is for |", "|---|---|---|", *rows]),
        "No medium stands on two sides (train, dev, test), nor do the same parameters of a rendered one, the same "
        "handwritten digit or the same piece of a photo: `manifest.json` names them for every medium (`keys`). The "
        "phrasings are the same on all sides.",
        "## Media",
        "\n".join(["| source | files | origin | licence |", "|---|---|---|---|", *media]),
        "Rows and rendered media: Apache-2.0.",
    ]
    return ("\n\n".join(paragraphs) + "\n").encode()


def _ordered(used: Mapping[Source, int]) -> list[Source]:
    return sorted(used, key=lambda source: source.name)
