"""docs/troubleshooting.md has an entry for each reason that the operator can write, and for no other word."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import boresight_operator
import pytest
from boresight_api.outcome import FailureClass
from boresight_operator.decide.events import REASONS as EVENTS
from boresight_operator.decide.waiting import LIMITED, UNLIMITED
from unit.operator.decide.test_situations import rows

PAGE = Path(__file__).parents[4] / "docs" / "troubleshooting.md"
OPERATOR = Path(boresight_operator.__file__).parent
WRITERS = (*sorted((OPERATOR / "decide").glob("*.py")), OPERATOR / "progress.py")
"""Nobody else decides what a status or an event says."""
REASON = re.compile(r"[A-Z][a-z]*([A-Z]+[a-z]*)*")
NO_REASONS = {
    # types and statuses of conditions, kinds, types of events
    *("ProgressAvailable", "Reconciling", "Stalled", "True", "False", "Unknown"),
    *("AlignmentRun", "Job", "NetworkPolicy", "Service", "Normal", "Warning"),
    # what the kubelet and the API server say, which is read and not written
    *("ContainerStatusUnknown", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "RegistryUnavailable"),
    *("SignatureValidationFailed", "Forbidden"),
    "ShardsDone",  # a verdict that is drawn on at once
}


def sections() -> dict[str, dict[str, list[str]]]:
    """Heading -> reason -> the other cells of its row."""
    found: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif row := re.fullmatch(r"\| `(\w+)` \| (.*) \|", line):
            entries = found.setdefault(heading, {})
            assert row[1] not in entries, f"{heading}: {row[1]} stands there twice"
            entries[row[1]] = row[2].split(" | ")
    return found


def written() -> set[str]:
    """Every word in the code that could be a reason, but for those that are known to be none."""
    words = {
        node.value
        for path in WRITERS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value)
    }
    assert words >= NO_REASONS, "a word that is excepted and stands nowhere"
    return (words | set(FailureClass)) - NO_REASONS


def test_every_reason_that_the_operator_can_write_has_an_entry_and_no_other_word_has_one() -> None:
    documented = {reason for entries in sections().values() for reason in entries}
    assert documented == written()


def test_every_event_has_an_entry_among_the_events() -> None:
    assert set(sections()["Events"]) == EVENTS


def test_reasons_to_wait_are_where_one_looks_for_them() -> None:
    waiting = {row.stage.rpartition("/")[2] for row in rows().values() if " Waiting/" in row.stage}
    assert set(sections()["What a stage waits for"]) == waiting | UNLIMITED | LIMITED


def test_reasons_of_conditions_are_in_the_tables_that_the_page_names() -> None:
    entries = sections()
    sound, waits, ends = (entries[name] for name in ("Conditions", "What a stage waits for", "How attempts end"))
    told = {reason for row in rows().values() for _, reason in row.conditions.values()}
    assert told <= {*sound, *waits, *ends}
    stalled = {reason for row in rows().values() for status, reason in [row.conditions["Stalled"]] if status == "True"}
    assert stalled <= {*ends, "InvalidSpec", "NotAllowed", "NameConflict"}


@pytest.mark.parametrize("heading", sections())
def test_every_entry_says_what_it_means_and_where_there_is_a_choice_what_to_do(heading: str) -> None:
    columns = 1 if heading == "Between attempts" else 2
    for reason, cells in sections()[heading].items():
        assert len(cells) == columns, f"{heading}: {reason} has {len(cells) + 1} columns"
        assert all(cells), f"{heading}: {reason} has an empty cell"
