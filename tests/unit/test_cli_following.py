"""Following a run in a cluster while the API server goes and comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from boresight.cluster.api import Api, ApiError
from boresight.cluster.kubeconfig import Access, User
from boresight.cluster.record import record_of
from boresight.cluster.source import PATIENCE_SECONDS, ClusterRuns, with_endpoint
from boresight.errors import TIMED_OUT, UNREACHABLE, UserError
from boresight.watching import Goal, wait
from boresight_trainer.store.buckets import ENDPOINT_VARIABLES
from builders_manifests import an_alignment_run

AWAY = UserError("https://x does not answer: Connection refused", UNREACHABLE)
BUSY = ApiError("the API server is busy", 503, "Busy")
GONE = ApiError("not found", 404, "NotFound")
FORBIDDEN = ApiError("forbidden", 403, "Forbidden")


def a_run(uid: str = "u-1") -> dict[str, Any]:
    run = an_alignment_run()
    run["metadata"] |= {"namespace": "team", "uid": uid, "creationTimestamp": "2026-11-29T10:00:00Z"}
    return run


class Scripted:
    """Answers in turn, and the last one for ever."""

    access = Access("here", "https://x", "team", User("me"))

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)

    def get(self, *_: object) -> dict[str, Any]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def following(*answers: dict[str, Any] | Exception) -> tuple[ClusterRuns, Callable[[], float]]:
    """Runs on a clock that sleeping moves, and what it says."""
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    api = cast(Api, Scripted(*answers))
    return ClusterRuns(api, now=lambda: 0.0, clock=lambda: time[0], sleep=sleep), lambda: time[0]


RUN = record_of(a_run(), 0.0)


def test_an_api_server_that_comes_back_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    runs, clock = following(a_run(), AWAY, BUSY, AWAY, a_run(), AWAY, a_run())
    news = runs.follow(RUN)
    found = [next(news) for _ in range(7)]
    assert [record.uid for record in found if record is not None] == ["u-1"] * 7
    assert clock() == 12.0
    assert capsys.readouterr().err.count("Trying on.") == 2, "once for each time that it went"


def test_one_that_stays_away_ends_it() -> None:
    runs, clock = following(a_run(), AWAY)
    with pytest.raises(UserError, match="does not answer"):
        for _ in runs.follow(RUN):
            pass
    assert PATIENCE_SECONDS < clock() < PATIENCE_SECONDS + 10


def test_the_time_to_wait_goes_on_while_it_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    runs = ClusterRuns(cast(Api, Scripted(a_run(), a_run(), AWAY)))
    began = time.monotonic()
    assert wait(runs, "arun/first", Goal("Succeeded"), 3.0) == TIMED_OUT
    assert 3.0 <= time.monotonic() - began < 3.5
    assert "not within 3 s: Succeeded: AlignmentRun team/first: Pending" in capsys.readouterr().err


def test_a_run_that_is_deleted_or_made_anew_is_gone() -> None:
    assert list(following(GONE)[0].follow(RUN)) == [None]
    assert next(following(a_run("u-2"))[0].follow(RUN)) is None


@pytest.mark.parametrize(
    ("ours", "counts"),
    [
        ({}, "https://of.the.run"),
        ({"AWS_ENDPOINT_URL_S3": ""}, "https://of.the.run"),
        ({"AWS_ENDPOINT_URL_S3": "https://ours"}, "https://ours"),
        ({"AWS_ENDPOINT_URL": "https://ours"}, "https://ours"),
    ],
)
def test_the_endpoint_is_the_runs_unless_this_machine_names_one(ours: dict[str, str], counts: str) -> None:
    found = with_endpoint(ours, "https://of.the.run")
    assert next(found[name] for name in ENDPOINT_VARIABLES if found.get(name)) == counts
    assert with_endpoint(ours, None) == ours


def test_a_right_that_is_taken_away_ends_it_at_once() -> None:
    with pytest.raises(ApiError, match="forbidden"):
        next(following(FORBIDDEN)[0].follow(RUN))
