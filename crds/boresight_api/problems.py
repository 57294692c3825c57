"""What is wrong with a manifest, said so that it can be put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One fault: where, what was found, what was expected, what to do. Empty parts are left out when shown."""

    path: str
    """The field, as written in the manifest: ``spec.data.feedback[0].uri``."""
    found: str
    expected: str = ""
    advice: str = ""

    def __str__(self) -> str:
        parts = [f"found {self.found}" if self.found else "", f"expected {self.expected}" if self.expected else ""]
        return f"{self.path or 'manifest'}: " + ", ".join(
            [*filter(None, parts), *([self.advice] if self.advice else [])]
        )


class ProblemsError(Exception):
    """Everything that is wrong with a document; ``str()`` gives one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ManifestError(ProblemsError):
    """A manifest that is none: unknown fields, missing fields, values of the wrong form."""


class PlanError(ProblemsError):
    """A manifest that is well-formed but cannot be planned, or not by this release."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The member of ``known`` that ``word`` was probably meant to be."""
    names = list(known)
    folded = {name.lower().replace("_", "").replace("-", ""): name for name in names}
    plain = word.lower().replace("_", "").replace("-", "").replace(" ", "")
    if plain in folded:
        return folded[plain]
    match = difflib.get_close_matches(plain, folded, n=1, cutoff=0.7)
    return folded[match[0]] if match else None
