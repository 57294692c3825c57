"""Exit codes, messages, and the bound of a termination message."""

from __future__ import annotations

import pytest
from boresight_api.outcome import (
    MAX_MESSAGE_BYTES,
    MAX_OUTCOME_BYTES,
    ExitCode,
    FailureClass,
    Metric,
    Outcome,
    OutcomeStatus,
    PrepareReport,
    PublishedArtifact,
    StageFinding,
    StageState,
    SuiteResult,
    encoded_size,
    exit_code_of,
    message_text,
    number,
)
from boresight_api.pins import MAX_SOURCES, Pin, licence_label, source_id
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

KEY = "f" * 64
DIGEST = f"sha256:{KEY}"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, None),
        (64, "InvalidConfig"),
        (65, "InvalidData"),
        (70, "Error"),
        (71, "Diverged"),
        (72, "OutOfMemory"),
        (73, "PeerLost"),
        (74, "Hung"),
        (75, "Infrastructure"),
        (76, "Preempted"),
        (77, "MissingInput"),
    ],
)
def test_exit_codes_are_one_table(code: int, name: str | None) -> None:
    failure = ExitCode(code).failure_class
    assert failure == name
    if failure is not None:
        assert exit_code_of(failure) == code


def test_every_failure_class_has_a_code() -> None:
    assert {exit_code_of(failure).failure_class for failure in FailureClass} == set(FailureClass)


def largest_outcomes() -> dict[str, Outcome]:
    """Every legal shape with every field at its bound."""
    metrics = tuple(Metric(name="n" * 32, value="-" + "1" * 15) for _ in range(8))
    pins = tuple(
        Pin(id=f"{n:016x}", digest=DIGEST, revision="r" * 40, rows=999_999_999_999, licence="l" * 32)
        for n in range(MAX_SOURCES)
    )
    found = tuple(
        StageFinding(name="n" * 16, state=StageState.CHECKPOINT, digest=DIGEST, step=999_999_999, attempt=99_999)
        for _ in range(6)
    )
    results = tuple(
        SuiteResult(
            suite="s" * 32,
            name="n" * 32,
            candidate="c" * 16,
            baseline="b" * 16,
            value="-" + "1" * 15,
            low="-" + "1" * 15,
            high="-" + "1" * 15,
            n=999_999_999,
        )
        for _ in range(14)
    )
    return {
        "prepare": Outcome(
            status=OutcomeStatus.SUCCEEDED, stage="p" * 63, prepare=PrepareReport(plan=KEY, pins=pins, stages=found)
        ),
        "evaluation": Outcome(
            status=OutcomeStatus.SUCCEEDED,
            stage="e" * 63,
            key=KEY,
            artifact=PublishedArtifact(uri='"' * 240, digest=DIGEST),
            metrics=metrics,
            results=results,
            step=999_999_999,
        ),
        "failure": Outcome(
            status=OutcomeStatus.FAILED,
            stage="f" * 63,
            key=KEY,
            metrics=metrics,
            failure_class=FailureClass.INVALID_CONFIG,
            message=message_text('"' * 10_000),
            step=999_999_999,
        ),
    }


@pytest.mark.parametrize("shape", ["prepare", "evaluation", "failure"])
def test_the_largest_legal_outcome_fits_a_termination_message(shape: str) -> None:
    outcome = largest_outcomes()[shape]
    data = outcome.to_bytes()
    assert len(data) <= MAX_OUTCOME_BYTES
    assert Outcome.parse(data) == outcome


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "Failed"},
        {"status": "Succeeded", "failure_class": "Error"},
        {"status": "Succeeded", "message": "done"},
        {"status": "Failed", "failure_class": "Error", "artifact": PublishedArtifact(uri="file:///x", digest=DIGEST)},
        {"status": "Succeeded", "key": KEY, "prepare": PrepareReport(plan=KEY)},
        {"status": "Failed", "failure_class": "Error", "message": "x" * (MAX_MESSAGE_BYTES + 1)},
        {"status": "Succeeded", "stage": "Not A Name"},
    ],
)
def test_an_outcome_of_another_shape_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Outcome.model_validate({"stage": "policy", **fields})


@pytest.mark.parametrize(
    "data", [b"", b"killed", b"[]", b'{"status":1}', b"x" * 5000, b'{"results":[["a","b","c","d","1","1","1",1,1]]}']
)
def test_rubbish_is_no_outcome(data: bytes) -> None:
    with pytest.raises(ValueError):
        Outcome.parse(data)


@given(st.text(max_size=3000))
def test_any_text_becomes_a_message(text: str) -> None:
    message = message_text(text)
    assert encoded_size(message) <= MAX_MESSAGE_BYTES
    assert not any(ord(c) < 32 and c != "\n" for c in message)
    Outcome(status=OutcomeStatus.FAILED, stage="policy", failure_class=FailureClass.ERROR, message=message)


def test_a_long_message_keeps_its_start_and_its_end() -> None:
    message = message_text("start " + "x" * 5000 + " end")
    assert message.startswith("start x")
    assert message.endswith("x end")
    assert " ... " in message


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1e-7, "1e-07"), (123456789.0, "1.23457e+08"), (-0.1234567, "-0.123457"), (0.0, "0"), (3, "3")],
)
def test_a_number_is_a_short_decimal(value: float, text: str) -> None:
    assert number(value) == text
    assert Metric(name="x", value=number(value)).value == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        number(value)


def test_a_source_is_its_place_revision_and_files() -> None:
    one = source_id("hf://a/b", "main", ("x", "y"))
    assert one == source_id("hf://a/b", "main", ["x", "y"])
    assert (
        len(
            {
                one,
                source_id("hf://a/c", "main", ("x", "y")),
                source_id("hf://a/b", None, ("x", "y")),
                source_id("hf://a/b", "main", ("y", "x")),
            }
        )
        == 4
    )


def test_a_pin_names_a_digest_or_a_key() -> None:
    for fields in ({}, {"digest": DIGEST, "key": KEY}):
        with pytest.raises(ValidationError, match="exactly one of digest and key"):
            Pin(id="0" * 16, **fields)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("Llama 3.2 Community <License> Agreement, see file", "Llama 3.2 Community License Agre"),
        ("„“", None),
    ],
)
def test_a_licence_is_cut_to_what_a_pin_can_carry(text: str, label: str | None) -> None:
    assert licence_label(text) == label
    if label:
        Pin(id="0" * 16, digest=DIGEST, licence=label)
