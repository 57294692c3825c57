"""``boresight artifacts`` on a folder and on a bucket: the same commands, the same answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boresight
import pytest
from boresight.main import main
from boresight_api.artifact import Parent
from boresight_trainer.store.base import Store
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.garbage import Living
from boresight_trainer.store.open import open_store
from boresight_trainer.store.references import write_refs
from builders_store import publish, write_files
from s3.minio_server import MinioServer

MODEL, PAIRS, POLICY, OLD = ("a" * 64, "bb" + "1" * 62, "bc" + "2" * 62, "d" * 64)
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["folder", "bucket"])
def store(
    request: pytest.FixtureRequest,
    minio: MinioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """MODEL <- PAIRS <- POLICY, and OLD; a ref of a run that has the first three."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in minio.environment().items():
        monkeypatch.setenv(name, value)
    where = (tmp_path / "store").as_uri() if request.param == "folder" else f"s3://{minio.bucket()}/team"
    monkeypatch.setenv("BORESIGHT_STORE", where)
    store = open_store(where)
    parents: tuple[Parent, ...] = ()
    for key, stage in ((MODEL, "feedback-model"), (PAIRS, "synthesis"), (POLICY, "policy")):
        published = publish(
            store,
            key,
            {"rows.jsonl": f'{{"key": "{key[:2]}"}}\n', "metrics.jsonl": '{"step": 1}\n'},
            stage=stage,
            parents=parents,
        )
        parents = (Parent(name="model", key=key, digest=published.artifact.digest),)
    publish(store, OLD)
    stages = {"feedback-model": MODEL, "synthesis": PAIRS, "policy": POLICY}
    write_refs(store, cluster="c1", namespace="team", run="uid-1", stages=stages, label="first")
    return store


@pytest.fixture
def ask(store: Store, capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["artifacts", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let days pass for the command."""

    def pass_days(days: float) -> None:
        now = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr("boresight.commands.collection.time.time", now.timestamp)

    return pass_days


def test_ls_show_and_verify(store: Store, ask: Ask) -> None:
    assert ask("tag", "best", "bc")[0] == 1, "too short"
    assert ask("tag", "best", POLICY[:8])[1] == f"artifact://tags/best is {POLICY}\n"
    rows = {row["key"]: row for row in json.loads(ask("ls", "-o", "json")[1])}
    assert rows.keys() == {MODEL, PAIRS, POLICY, OLD}
    assert (rows[POLICY]["stage"], rows[POLICY]["tags"], rows[OLD]["tags"]) == ("policy", "best", "")
    for name in (POLICY, f"artifact://{POLICY}", POLICY[:7], "tags/best", "artifact://tags/best"):
        code, out, _ = ask("show", name)
        assert code == 0
        assert out.splitlines()[0].split() == ["key", POLICY]
        assert store.place(f"artifacts/{POLICY}") in out
    assert ask("verify")[1].count("ok ") == 4
    assert ask("untag", "best")[1] == f"artifact://tags/best was {POLICY}\n"
    code, _, err = ask("show", "tags/best")
    assert (code, "found no such tag" in err) == (77, True)


def test_a_broken_artifact_is_told(store: Store, ask: Ask) -> None:
    (name,) = (name for path, name in store.names_of(store.existing(POLICY)).items() if path == "rows.jsonl")
    store.write(name, b"tampered")
    code, out, err = ask("verify", POLICY[:6], MODEL[:6])
    assert code == 1
    assert "broken  bc2222222222  artifact bc22" in out
    assert "rows.jsonl: found 8 bytes" in out
    assert "1 artifact of 2 cannot be used" in err


def test_pull_brings_a_folder_that_is_whole_or_nothing(store: Store, ask: Ask, tmp_path: Path) -> None:
    target = tmp_path / "out" / "policy"
    code, out, _ = ask("pull", POLICY[:6], str(target))
    assert (code, str(store.digest(POLICY)) in out) == (0, True)
    assert {path.name for path in target.iterdir()} == {"manifest.json", "rows.jsonl", "metrics.jsonl"}
    assert (target / "manifest.json").read_bytes() == store.read(f"artifacts/{POLICY}/manifest.json")
    code, _, err = ask("pull", POLICY[:6], str(target))
    assert (code, "expected no folder or an empty one" in err) == (1, True)
    (name,) = (name for path, name in store.names_of(store.existing(MODEL)).items() if path == "rows.jsonl")
    store.remove([name])
    code, _, err = ask("pull", MODEL[:6], str(tmp_path / "out" / "model"))
    assert (code, "rows.jsonl: found no file" in err) == (77, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["policy"]


def test_python_reads_the_same(store: Store) -> None:
    artifact = boresight.open(f"artifact://{PAIRS}", store=store.uri)
    assert artifact.metrics() == [{"step": 1}]
    assert list(artifact.rows("rows.jsonl")) == [{"key": "bb"}]
    assert (artifact.path() / "rows.jsonl").exists()


def test_du_sums_by_run_and_stage(store: Store, ask: Ask) -> None:
    with store.attempt(POLICY, "uid-1", 1) as attempt:
        write_files(attempt.own, {"batch.jsonl": "12345"})
    rows = json.loads(ask("du", "-o", "json")[1])
    found = {(row["run"], row.get("stage")): row for row in rows}
    policy = found["team/first", "policy"]
    size = len(store.read(f"artifacts/{POLICY}/manifest.json") or b"") + sum(
        f.size for f in store.existing(POLICY).files
    )
    assert (policy["artifact"], policy["checkpoints"], policy["key"]) == (size, 5, POLICY[:12])
    assert ("-", "policy") in found, "of no run"
    listed = list(store.files(""))
    assert found["(all)", None]["artifact"] == sum(f.size for f in listed if f.name.startswith("artifacts/"))
    assert found["(refs)", None]["artifact"] == sum(f.size for f in listed if f.name.startswith("refs/"))
    assert "KiB" in ask("du")[1]


def test_gc_removes_only_what_nobody_needs_and_only_if_told(
    store: Store, ask: Ask, later: Callable[[float], None]
) -> None:
    assert ask("gc")[1:] == ("", "0 entries, 0 B: nothing was removed; --delete removes it\n")
    later(8)
    code, out, err = ask("gc")
    assert (code, out.split()[4:6]) == (0, ["artifacts", OLD[:12]])
    assert err.startswith("1 entry, ")
    assert len(store.keys()) == 4
    code, _, err = ask("gc", "--delete")
    assert err.endswith("removed\n")
    assert store.keys() == [MODEL, PAIRS, POLICY]
    assert not list(store.files(f"artifacts/{OLD}"))
    later(31)
    ask("tag", "judge", PAIRS[:6])
    rows = json.loads(ask("gc", "--delete", "-o", "json")[1])
    assert [(row["what"], row["name"]) for row in rows] == [("artifacts", POLICY), ("refs", "c1/team/uid-1.json")]
    assert store.keys() == [MODEL, PAIRS], "what a tag's artifact was made from stays"


def test_gc_stays_its_hand_when_a_ref_cannot_be_read(store: Store, ask: Ask, later: Callable[[float], None]) -> None:
    store.write("refs/c1/team/uid-2.json", b"{")
    later(400)
    code, out, err = ask("gc", "--delete")
    assert (code, out, "nothing is removed" in err) == (65, "", True)
    assert len(store.keys()) == 4


def test_what_a_run_asks_for_while_gc_works_stays(
    store: Store, ask: Ask, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from boresight_trainer.store import garbage

    later(8)
    calls = [0]
    found = garbage.waste

    def waste(*arguments: object, **more: object) -> object:
        calls[0] += 1
        doomed = found(*arguments, **more)  # type: ignore[arg-type]
        if calls[0] == 1:
            write_refs(store, cluster="c1", namespace="team", run="uid-9", stages={"policy": OLD})
        return doomed

    monkeypatch.setattr(garbage, "waste", waste)
    assert ask("gc", "--delete")[2].startswith("0 entries")
    assert store.digest(OLD) is not None


def test_a_run_that_is_on_record_here_keeps_its_artifacts(
    store: Store, ask: Ask, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(store, FileStore):
        pytest.skip("records of runs lie in folders only")
    monkeypatch.setattr("boresight.living.living_here", lambda _: Living(frozenset({"uid-1"})))
    later(400)
    ask("gc", "--delete")
    assert store.keys() == [MODEL, PAIRS, POLICY]


def test_without_the_right_to_list_everything_gc_refuses(
    minio: MinioServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bucket = minio.bucket()
    for name, value in minio.environment().items():
        monkeypatch.setenv(name, value)
    publish(open_store(f"s3://{bucket}"))
    some = {"Effect": "Allow", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    prefix = {"Condition": {"StringLike": {"s3:prefix": ["artifacts/*"]}}}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {**some, "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]},
            {**some, "Action": ["s3:ListBucket"], **prefix},
        ],
    }
    with minio.user("none-yet", document=policy) as user:
        for name, value in user.environment.items():
            monkeypatch.setenv(name, value)
        assert main(["artifacts", "verify", "--store", f"s3://{bucket}"]) == 0
        assert main(["artifacts", "gc", "--delete", "--store", f"s3://{bucket}"]) == 64
    assert "AccessDenied" in capsys.readouterr().err
    monkeypatch.setitem(os.environ, "AWS_ACCESS_KEY_ID", minio.credentials["AWS_ACCESS_KEY_ID"])
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", minio.credentials["AWS_SECRET_ACCESS_KEY"])
    assert len(open_store(f"s3://{bucket}").keys()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "--store", "s3://there-is-none/x"], "NoSuchBucket"),
        (["tag", "../up", "a" * 64], "tag: found"),
        (["tag", "x", "e" * 64], "is not in"),
        (["untag", "never-was"], "found no such tag"),
        (["gc", "--keep-days", "-1"], "keep-days"),
    ],
)
def test_mistakes_get_one_message(ask: Ask, arguments: list[str], message: str) -> None:
    code, out, err = ask(*arguments)
    assert code != 0
    assert message in err
    assert "Traceback" not in out + err


def test_a_bucket_without_credentials_says_which_variables(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    code, _, err = ask("ls", "--store", "s3://bucket/x")
    assert (code, "found no AWS_ACCESS_KEY_ID in the environment" in err) == (64, True)
