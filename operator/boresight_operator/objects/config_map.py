"""The ConfigMap with an attempt's document. Immutable: what a pod was told is what it was told."""

from __future__ import annotations

from ..api import CONFIG_MAPS, Object, Resource
from ..views import Observation
from .labels import attempt_annotations, attempt_labels, owned
from .stage_document import document
from .work import Work

MAX_BYTES = 1_000_000
"""Of a document: the API server takes 1,048,576 bytes of data."""


def config_map(work: Work, observation: Observation) -> tuple[Resource, Object]:
    """Raises TooLarge (:func:`.allowed.forbidden` says so before)."""
    name, text = document(work, observation)
    return CONFIG_MAPS, owned(
        CONFIG_MAPS,
        work.run,
        work.name,
        {"immutable": True, "data": {name: checked(text)}},
        labels=attempt_labels(work),
        annotations=attempt_annotations(work),
    )


class TooLarge(ValueError):  # noqa: N818 an answer to "does it fit"
    """A document that no ConfigMap can hold."""


def checked(text: str) -> str:
    """``text``, if a ConfigMap can hold it. Raises TooLarge."""
    if (size := len(text.encode())) > MAX_BYTES:
        raise TooLarge(f"found {size} bytes, expected at most {MAX_BYTES}; name fewer files, or a folder of them")
    return text
