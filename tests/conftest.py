"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("boresight", deadline=None)  # no test is timed: the machine may be busy
settings.load_profile("boresight")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of the real model SmolLM2-135M-Instruct, converted once per user. Mark the test with ``model``."""
    from boresight_trainer.models import embedded
    from boresight_trainer.store.digests import user_cache_folder

    return embedded.materialize(embedded.SMOLLM2, user_cache_folder())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights over bytes."""
    from boresight_trainer.models import embedded

    return embedded.materialize(embedded.TINY, tmp_path_factory.mktemp("models"))
