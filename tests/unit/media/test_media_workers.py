"""Workers decode ahead: in order, within memory, whatever becomes of single processes, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media.cache import ArrayCache
from boresight_trainer.media.decode import Decoder, Decoding, Request
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from boresight_trainer.media.video import Sampling
from boresight_trainer.media.workers import Item, Prefetcher, Waiting, WorkerError
from builders_media import a_picture, a_video, a_wav, cut, numbered_frames, numbers_of, tone
from media_work import Task, Touch, do, with_a_child

PATIENCE = 60.0


def batches(*tasks: Sequence[Task]) -> list[list[Item[Task]]]:
    return [[Item(f"row {task.number}", task) for task in batch] for batch in tasks]


def prefetched(
    plan: Any, work: Callable[[Any], Any] = do, *, processes: int = 2, ahead_bytes: int = 1 << 20, timeout: float = 60
) -> Prefetcher[Any]:
    return Prefetcher(plan, work, processes=processes, ahead_bytes=ahead_bytes, timeout_seconds=timeout)


def numbers(results: Sequence[Any]) -> list[Any]:
    return [result if isinstance(result, MediaError) else int(result["number"][0]) for result in results]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_results_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    tasks = [[Task(4 * batch + item, seconds=0.05 * (item == 0)) for item in range(4)] for batch in range(5)]
    with prefetched(batches(*tasks)) as ahead:
        assert [numbers(results) for results in ahead] == [[4 * b + i for i in range(4)] for b in range(5)]
        with pytest.raises(StopIteration):
            next(ahead)


def test_an_empty_batch_is_a_batch() -> None:
    with prefetched(batches([], [Task(1)], [])) as ahead:
        assert [numbers(results) for results in ahead] == [[], [1], []]
    with prefetched([]) as ahead:
        assert list(ahead) == []


def test_several_processes_work_and_none_is_this_one() -> None:
    made_by: set[int] = set()
    with prefetched([Item(str(n), Task(n, seconds=0.01))] for n in count()) as ahead:
        until(lambda: bool(made_by.add(int(next(ahead)[0]["process"])) or len(made_by) == 2))
    assert os.getpid() not in made_by
    assert not any(is_alive(process) for process in made_by)


def test_a_plan_without_end_is_taken_as_it_is_needed(tmp_path: Path) -> None:
    item_bytes = np.zeros(1000, dtype=np.int64).nbytes + 8
    plan = ([Item(str(n), Task(n, size=1000))] for n in count())
    with prefetched(plan, Touch(tmp_path), processes=1, ahead_bytes=4 * item_bytes) as ahead:
        assert [numbers(results) for results in islice(ahead, 3)] == [[0], [1], [2]]
        until(lambda: (tmp_path / "6").exists())  # four are ready or being made
        time.sleep(0.2)
        assert not (tmp_path / "7").exists()
        next(ahead)
        until(lambda: (tmp_path / "7").exists())


def test_a_batch_larger_than_the_memory_for_waiting_still_comes() -> None:
    with prefetched(batches([Task(n, size=1000) for n in range(5)], [Task(5)]), ahead_bytes=1) as ahead:
        assert [numbers(results) for results in ahead] == [[0, 1, 2, 3, 4], [5]]


@pytest.mark.parametrize(
    ("ending", "complaint"),
    [
        ("media error", "found row 1: nonsense, expected sense: think"),
        ("exit", r"found row 1: a medium that ends its decoder \(exit code 3\)"),
        ("crash", r"found row 1: a medium that ends its decoder \(signal 11\)"),
    ],
)
def test_what_becomes_of_one_item_is_told_in_its_place(ending: str, complaint: str) -> None:
    tasks = [Task(0), Task(1, ending=ending), Task(2)]
    with prefetched(batches(tasks, tasks, [Task(3)]), processes=1) as ahead:
        for results in (next(ahead), next(ahead)):
            first, error, last = numbers(results)
            assert (first, last) == (0, 2)
            assert isinstance(error, MediaError)
            with pytest.raises(MediaError, match=complaint):
                raise error
        assert numbers(next(ahead)) == [3]


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    with prefetched(batches([Task(0, seconds=600), Task(1)]), processes=1, timeout=1.5) as ahead:
        error, after = numbers(next(ahead))
    assert str(error) == "found row 0: decoding not done after 1.5 s, expected an end: encode it anew, or leave it out"
    assert after == 1


def test_a_worker_that_hangs_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILD_FILE", str(tmp_path / "child"))
    with prefetched(batches([Task(0)]), with_a_child, processes=1, timeout=5) as ahead:
        assert isinstance(next(ahead)[0], MediaError)
    processes = [int(number) for number in (tmp_path / "child").read_text().split()]
    assert len(processes) == 2
    until(lambda: not any(is_alive(process) for process in processes))


def test_a_fault_of_the_work_is_no_fault_of_the_medium() -> None:
    with (
        prefetched(batches([Task(1, ending="bug")])) as ahead,
        pytest.raises(WorkerError, match=r"row 1: decoding failed:\n(.|\n)*KeyError: 'a bug of ours'"),
    ):
        next(ahead)


def test_a_file_that_cannot_be_read_is_no_fault_of_the_medium() -> None:
    with (
        prefetched(batches([Task(1, ending="os error")])) as ahead,
        pytest.raises(FileNotFoundError, match="No such file or directory: 'there'"),
    ):
        next(ahead)


def test_a_plan_that_fails_is_told() -> None:
    def plan() -> Iterator[list[Item[Task]]]:
        yield from batches([Task(0)])
        raise ValueError("no plan")

    with prefetched(plan()) as ahead, pytest.raises(ValueError, match="no plan"):
        list(ahead)


def test_what_work_prints_does_not_disturb() -> None:
    with prefetched(batches([Task(1, ending="noise"), Task(2)])) as ahead:
        assert numbers(next(ahead)) == [1, 2]


def test_processes_that_do_not_start_are_no_fault_of_the_media(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with prefetched(batches([Task(1)])) as ahead, pytest.raises(WorkerError, match="did not start"):
        next(ahead)


def test_no_process_is_no_way_to_work() -> None:
    with pytest.raises(ValueError, match="found 0 processes, expected at least one"):
        prefetched([], processes=0)


def test_leaving_ends_workers_at_whatever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHILD_FILE", str(tmp_path / "child"))
    with prefetched(batches([Task(0)]), with_a_child, processes=1):
        until(lambda: (tmp_path / "child").exists() and len((tmp_path / "child").read_text().split()) == 2)
    processes = [int(number) for number in (tmp_path / "child").read_text().split()]
    until(lambda: not any(is_alive(process) for process in processes))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_is_killed_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    code = (
        "from boresight_trainer.media.workers import Item, Prefetcher; import media_work; "
        "plan = [[Item('x', media_work.Task(0))]]; "
        "next(Prefetcher(plan, media_work.with_a_child, processes=1, ahead_bytes=1, timeout_seconds=600))"
    )
    environment = {**os.environ, "CHILD_FILE": str(tmp_path / "child"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        until(lambda: (tmp_path / "child").exists() and len((tmp_path / "child").read_text().split()) == 2)
        processes = [int(number) for number in (tmp_path / "child").read_text().split()]
        assert all(is_alive(process) for process in processes)
        parent.send_signal(ending)
    until(lambda: not any(is_alive(process) for process in processes))


def test_the_share_of_waiting_is_what_was_waited_of_all_time_since_the_first() -> None:
    now = 0.0
    waiting = Waiting(lambda: now)
    now = 100
    assert waiting.share == 0
    with waiting:
        now += 3
    assert waiting.share == 1
    now += 3
    assert waiting.share == 0.5
    with waiting:
        now += 6
    assert waiting.share == 0.75


def test_whoever_asks_too_early_waits() -> None:
    with prefetched(batches([Task(0, seconds=0.1)])) as ahead:
        assert ahead.waiting_share == 0
        next(ahead)
        assert 0 < ahead.waiting_share <= 1


# -- decoding --------------------------------------------------------------------------------------------------------


def test_media_of_all_kinds_are_decoded_by_workers_and_kept(tmp_path: Path) -> None:
    files = {
        "picture": (a_picture(tmp_path / "a.png"), Modality.IMAGE),
        "sound": (a_wav(tmp_path / "a.wav", [tone(440, 1, 16_000)], 16_000), Modality.AUDIO),
        "video": (a_video(tmp_path / "a.mp4", numbered_frames(20)), Modality.VIDEO),
        "broken": (cut(a_picture(tmp_path / "b.bmp", (300, 300)), 0.5), Modality.IMAGE),
    }
    decoding = Decoding(Sampling(Fraction(1), 8), size=(48, 24))
    batch = [
        Item(name, Request(name, path, header_of(path, modality, Limits()), decoding))
        for name, (path, modality) in files.items()
    ]
    work = Decoder(Limits(), ArrayCache(tmp_path / "cache", 1 << 30))
    for _ in range(2):
        with prefetched([batch, batch], work, timeout=120) as ahead:
            for picture, sound, video, broken in ahead:
                assert not isinstance(picture, MediaError) and picture["pixels"].shape == (30, 40, 3)
                assert not isinstance(sound, MediaError) and sound["samples"].shape == (16_000,)
                assert not isinstance(video, MediaError) and video["pixels"].shape == (2, 24, 48, 3)
                assert numbers_of(video["pixels"]) == [5, 15]
                assert video["seconds"].tolist() == [0.5, 1.5]
                assert isinstance(broken, MediaError) and "found broken: a damaged image (BMP" in str(broken)
        for path, _ in list(files.values())[:3]:
            path.unlink(missing_ok=True)  # the second time they come from the cache
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3
