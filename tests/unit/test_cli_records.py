"""Records of local runs, locks, estimates: what `boresight list` and `status` are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from boresight.errors import UserError
from boresight.files import replace_text
from boresight.local import lock
from boresight.local.estimate import append_history, estimate, read_history
from boresight.records import (
    Attempt,
    RunFolder,
    RunRecord,
    RunRecords,
    SourceEntry,
    StageRecord,
    State,
    from_document,
    to_document,
)
from boresight.settings import default_store, store_folder, store_uri

KEY = "ab" * 32


def a_record(name: str = "first", *states: State, started_at: str = "2026-11-22T00:00:00Z") -> RunRecord:
    return RunRecord(
        kind="AlignmentRun",
        namespace="default",
        name=name,
        uid="0123456789abcdef",
        manifest_path="/x/run.yaml",
        store="file:///s",
        started_at=started_at,
        manifest={"kind": "AlignmentRun", "spec": {"a": [1, None]}},
        pins=({"id": "0" * 16, "digest": "sha256:" + "0" * 64},),
        plan=KEY,
        sources=(SourceEntry("0" * 16, "file:///x/data.jsonl", digest="sha256:" + "0" * 64, rows=12),),
        stages=tuple(
            StageRecord(f"stage-{i}", "sft", KEY, ("prepare",), state, metrics=(("holdoutLoss", "1.2"),))
            for i, state in enumerate(states or (State.SUCCEEDED, State.RUNNING))
        ),
    )


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    attempt = Attempt(
        1, "2026-11-22T00:00:00Z", seconds=3.5, exit_code=72, failure_class="OutOfMemory", log="a/log.txt"
    )
    stage = StageRecord("policy", "dpo", KEY, ("synthesis",), State.FAILED, attempts=(attempt,))
    record = replace(a_record(), stages=(stage,))
    folder = RunFolder(tmp_path / "run")
    folder.write(record)
    assert folder.read() == record
    assert from_document(json.loads(json.dumps(to_document(record)))) == record


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 99}', '{"version": 1, "stages": [{"name": "a"}]}', '{"version": 1}']
)
def test_a_file_that_is_no_record_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.record_path.write_text(text)
    with pytest.raises(UserError, match=r"run\.json.*delete the file"):
        folder.read()


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((State.SUCCEEDED, State.CACHED), State.SUCCEEDED),
        ((State.CACHED, State.CACHED), State.SUCCEEDED),
        ((State.SUCCEEDED, State.HELD), State.HELD),
        ((State.SUCCEEDED, State.RUNNING, State.PENDING), State.RUNNING),
        ((State.SUCCEEDED, State.FAILED, State.PENDING), State.FAILED),
        ((State.SUCCEEDED, State.INTERRUPTED, State.PENDING), State.INTERRUPTED),
        ((State.PENDING, State.PENDING), State.PENDING),
    ],
)
def test_the_state_of_a_run_follows_from_its_stages(states: tuple[State, ...], expected: State) -> None:
    assert a_record("x", *states).state is expected


def test_a_run_whose_process_died_is_interrupted_and_one_that_lives_runs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write(a_record("x", State.RUNNING))
    with lock.hold(folder.lock_path, "me"):
        current = folder.current()
        assert current is not None
        assert current.state is State.RUNNING
    current = folder.current()
    assert current is not None
    assert current.state is State.INTERRUPTED


def test_runs_are_found_by_name_and_the_newest_without(tmp_path: Path) -> None:
    records = RunRecords(tmp_path)
    for name, started in (("old", "2026-01-01T00:00:00Z"), ("new", "2026-02-01T00:00:00Z")):
        records.folder("default", name).write(a_record(name, State.SUCCEEDED, started_at=started))
    assert [record.name for _, record in records.all()] == ["new", "old"]
    assert records.find(None)[1].name == "new"
    assert records.find("old")[1].name == "old"
    assert records.find("default/old")[1].name == "old"
    with pytest.raises(UserError, match=r"no run team/old.*default/new, default/old"):
        records.find("team/old")
    other = replace(a_record("other", State.SUCCEEDED, started_at="2025-01-01T00:00:00Z"), namespace="team")
    records.folder("team", "other").write(other)
    assert records.find(None, "team")[1].name == "other", "the newest of the namespace that is named"
    assert records.find(None)[1].name == "new"
    with pytest.raises(UserError, match="no runs of namespace nowhere in"):
        records.find(None, "nowhere")


def test_without_runs_the_message_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="boresight run FILE"):
        RunRecords(tmp_path).find(None)


def test_a_lock_has_one_holder_and_is_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "key.lock"
    assert not lock.is_held(path)
    with lock.hold(path, "run default/first") as free:
        assert free
        assert lock.is_held(path)
        assert lock.holder_of(path) == "run default/first"
        with lock.hold(path, "another") as second:
            assert not second
    with lock.hold(path, "third") as free:
        assert free


def test_waiting_for_a_lock_says_once_who_has_it_and_gets_it_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    heard: list[str] = []
    holder = lock.hold(path, "run default/first")
    holder.__enter__()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            holder.__exit__(None, None, None)

    with lock.wait_for(path, "me", on_wait=heard.append, poll=lambda: True, sleep=nap) as got:
        assert got
    assert heard == ["run default/first"]
    assert len(naps) == 3


def test_waiting_for_a_lock_ends_when_the_user_has_enough(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    with lock.hold(path, "other"), lock.wait_for(path, "me", on_wait=lambda _: None, poll=lambda: False) as got:
        assert not got


def test_replacing_a_file_leaves_the_old_one_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    replace_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("to_run", "history", "annotations", "seconds", "basis"),
    [
        ([], {}, {}, 0.0, "cached"),
        (["a", "b"], {"a": 10.0, "b": 20.0}, {"boresight.dev/expected-minutes": "9"}, 30.0, "last time"),
        (["a", "b"], {"a": 10.0}, {"boresight.dev/expected-minutes": "9"}, 540.0, "as the manifest says"),
        (["b"], {}, {"boresight.dev/expected-minutes": "9.5"}, 570.0, "at most"),
        (["b"], {}, {"boresight.dev/expected-minutes": "soon"}, None, "not run"),
        (["b"], {"a": 1.0}, {}, None, "not run"),
    ],
)
def test_estimates(
    to_run: list[str], history: dict[str, float], annotations: dict[str, str], seconds: float | None, basis: str
) -> None:
    found = estimate(to_run, all_stages=["a", "b"], history=history, annotations=annotations)
    assert found.seconds == seconds
    assert basis in found.basis


def test_history_keeps_the_last_time_and_survives_a_cut_line(tmp_path: Path) -> None:
    assert read_history(tmp_path) == {}
    append_history(tmp_path, "policy", KEY, 12.345)
    append_history(tmp_path, "policy", KEY, 10.0)
    with (tmp_path / "times.jsonl").open("a") as file:
        file.write('{"stage": "synth')
    assert read_history(tmp_path) == {"policy": 10.0}


def test_the_default_store_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_store({}, "linux") == "file:///home/me/.local/share/boresight/store"
    assert default_store({"XDG_DATA_HOME": "/data"}, "linux") == "file:///data/boresight/store"
    assert default_store({"XDG_DATA_HOME": "relative"}, "linux") == "file:///home/me/.local/share/boresight/store"
    assert default_store({}, "darwin") == "file:///home/me/Library/Application%20Support/boresight/store"
    assert default_store({"BORESIGHT_STORE": "/big/disk"}, "linux") == "file:///big/disk"
    assert default_store({"BORESIGHT_STORE": "file:///big/disk/"}, "linux") == "file:///big/disk"


def test_a_store_is_a_folder_here() -> None:
    assert store_folder(store_uri("/a b/c")) == Path("/a b/c")
    with pytest.raises(UserError, match="found s3://bucket/x, expected a folder"):
        store_folder("s3://bucket/x")
