"""Each guard matters: with it its history is fine, without it the simulation notices."""

from __future__ import annotations

import logging

import pytest
from simulation.history import tell
from simulation.mutations import MUTATIONS, Mutation

BY_NAME = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)


@BY_NAME
def test_with_the_guard_all_is_well(mutation: Mutation) -> None:
    tell(mutation.story)


@BY_NAME
def test_without_the_guard_it_shows(mutation: Mutation) -> None:
    logging.disable(logging.WARNING)
    try:
        with mutation.without(), pytest.raises(AssertionError) as noticed:
            tell(mutation.story)
        assert "Traceback" not in str(noticed.value), "the mutation itself is broken"
    finally:
        logging.disable(logging.NOTSET)
