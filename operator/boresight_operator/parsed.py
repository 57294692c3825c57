"""The spec of a run as the contract has it: parsed once, though every policy and builder asks for it."""

from __future__ import annotations

import json
from functools import lru_cache

from boresight_api.kinds import Run
from boresight_api.manifest import parse_manifest

from .views import RunView

KEPT = 256
"""Runs that something happens to; parsing takes ten times as long as looking one up."""


def parsed(run: RunView) -> Run:
    """Raises ManifestError with every fault."""
    return _parsed(json.dumps(run.document))


@lru_cache(maxsize=KEPT)
def _parsed(document: str) -> Run:
    return parse_manifest(json.loads(document))
