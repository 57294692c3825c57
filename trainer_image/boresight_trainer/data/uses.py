"""What rows are read for. One row may serve several uses, and be valid for one and not for another."""

from __future__ import annotations

from enum import StrEnum


class Use(StrEnum):
    """The kinds of records that a row can become."""

    PROMPTS = "prompts"
    DEMONSTRATIONS = "demonstrations"
    FEEDBACK = "feedback"
    PREFERENCES = "preferences"
