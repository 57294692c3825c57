"""Batches that several processes share: each once, none forgotten, whoever is late, slow or gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boresight_api.execution import StagePart
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.evaluation.journal import Journal, Records
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [f"batch-{number}" for number in range(7)]


class Time:
    """A clock that only pauses move; what happens meanwhile is up to the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], None] = lambda: None

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()

    def clock(self) -> float:
        return self.now


def a_shard(folder: Path, shard: int, shards: int, time: Time | None = None, **changes: object) -> Journal:
    time = time or Time()
    return Journal(
        folder,
        part=StagePart.SHARD,
        shard=shard,
        shards=shards,
        pause=time.pause,
        clock=time.clock,
        **changes,  # type: ignore[arg-type]
    )


def content(name: str) -> Records:
    return [f"of {name}"]


def finished(journal: Journal, names: list[str] = NAMES) -> tuple[dict[str, Records], list[str]]:
    """All records by name, and the names of what this process made."""
    made: list[str] = []

    def make(place: int) -> Records:
        made.append(names[place])
        return content(names[place])

    found = list(journal.finish(names, make))
    assert sorted(place for place, _ in found) == list(range(len(names))), "every batch once"
    return {names[place]: records for place, records in found}, made


def test_one_process_makes_all_in_order(tmp_path: Path) -> None:
    found, made = finished(Journal(tmp_path))
    assert made == NAMES == list(found)
    assert finished(Journal(tmp_path))[1] == [], "what is there is not made again"


@settings(deadline=None, max_examples=30)
@given(shards=st.integers(2, 9), count=st.integers(0, 20), late=st.randoms(use_true_random=False))
def test_whoever_comes_when_every_batch_is_made_once(
    tmp_path_factory: pytest.TempPathFactory, shards: int, count: int, late: object
) -> None:
    """While one waits, the others (in any order) do theirs: nobody loses patience, so nothing is made twice."""
    folder = tmp_path_factory.mktemp("journal")
    names = [f"batch-{number}" for number in range(count)]
    made: list[str] = []
    others = [a_shard(folder, shard, shards) for shard in range(1, shards)]
    late.shuffle(others)  # type: ignore[attr-defined]
    time = Time()

    def meanwhile() -> None:
        if others:
            other = others.pop()
            for place in range(other.shard, count, shards):
                other.write(names[place], content(names[place]))
                made.append(names[place])

    time.meanwhile = meanwhile
    found, own = finished(a_shard(folder, 0, shards, time), names)
    assert found == {name: content(name) for name in names}
    assert own == names[::shards]
    assert sorted(made + own) == sorted(names)


def test_what_nobody_makes_is_made_after_a_while(tmp_path: Path) -> None:
    time = Time()
    found, made = finished(a_shard(tmp_path, 1, 3, time))
    assert made[:2] == ["batch-1", "batch-4"], "its own first"
    assert made[2:] == ["batch-2", "batch-5", "batch-0", "batch-3", "batch-6"], "then the next process's"
    assert len(found) == len(NAMES)
    assert 60 <= time.now < 65, "patience is lost once, not for every batch"


def test_news_of_the_others_renew_patience(tmp_path: Path) -> None:
    time, other = Time(), a_shard(tmp_path, 1, 2)

    def meanwhile() -> None:
        if time.now % 50 == 0 and time.now <= 150:
            name = NAMES[int(time.now // 50) * 2 - 1]
            other.write(name, content(name))

    time.meanwhile = meanwhile
    _, made = finished(a_shard(tmp_path, 0, 2, time))
    assert made == NAMES[::2]
    assert time.now == 150


def test_patience_grows_with_the_batches(tmp_path: Path) -> None:
    time = Time()
    journal = a_shard(tmp_path, 0, 2, time)

    def make(place: int) -> Records:
        time.now += 100
        return content(NAMES[place])

    times = [(place, time.now) for place, _ in journal.finish(NAMES, make)]
    assert times[:4] == [(0, 100), (2, 200), (4, 300), (6, 400)]
    assert times[4][1] >= 400 + 100, "made once it has waited as long as three batches take"
    assert [place for place, _ in times[4:]] == [1, 3, 5]


def test_more_processes_than_batches_wait_and_make_nothing_twice(tmp_path: Path) -> None:
    time, others = Time(), [a_shard(tmp_path, shard, 20) for shard in range(7)]
    time.meanwhile = lambda: others and finished_by(others.pop())  # type: ignore[assignment,return-value]
    found, made = finished(a_shard(tmp_path, 19, 20, time))
    assert (len(found), made) == (7, [])


def finished_by(journal: Journal) -> None:
    journal.write(NAMES[journal.shard], content(NAMES[journal.shard]))


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    def pause(_: float) -> None:
        raise StageFailure(FailureClass.PREEMPTED, "stopped")

    journal = Journal(tmp_path, part=StagePart.SHARD, shard=0, shards=2, pause=pause)
    with pytest.raises(StageFailure, match="stopped"):
        finished(journal)
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == set(NAMES[::2]), "what was made stays"


def test_a_merge_makes_nothing_and_names_what_is_missing(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for place, name in enumerate(NAMES):
        if place != 5:
            Journal(first if place % 2 else second).write(name, content(name))

    def merge() -> dict[str, Records]:
        return finished(Journal(second, [first], part=StagePart.MERGE))[0]

    with pytest.raises(StageFailure, match=r"found 6 of 7 batches, batch-5 is not in .*2, .*1; the pods") as caught:
        merge()
    assert caught.value.failure is FailureClass.MISSING_INPUT
    Journal(first).write("batch-5", content("batch-5"))
    assert list(merge()) == NAMES


def test_two_writers_of_one_batch_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, other = a_shard(tmp_path, 0, 2), a_shard(tmp_path, 1, 2)

    class Between(list[str]):
        """The other process writes the same batch while this one is at it."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            other.write("a", ["x"])
            return super().__iter__()

    one.write("a", Between(["x"]))
    assert one.read("a") == other.read("a") == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]
