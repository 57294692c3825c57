"""``boresight pin``: pinned values go into the manifest's text, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from boresight.errors import UserError
from boresight.main import main
from boresight.pinning import Place, Wanted, pinned
from builders_cli import a_manifest_file

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
COMMIT, NEXT_COMMIT = "a" * 40, "b" * 40


def to(digest: str | None = ONE, revision: str | None = None, uri: str | None = None):
    return lambda place: Wanted(digest=digest, revision=revision, uri=uri)


CASES = {
    "block mapping": (
        "spec:\n  task: X\n  model:\n    uri: file:m  # mine\n    trustRemoteCode: Never\n",
        to(),
        f'spec:\n  recipe: "1"\n  task: X\n  model:\n    uri: file:m  # mine\n    digest: "{ONE}"\n'
        "    trustRemoteCode: Never\n",
    ),
    "flow mapping": (
        "spec: {task: X, model: {uri: 'file:m', trustRemoteCode: Never}}\n",
        to(),
        f'spec: {{recipe: "1", task: X, model: {{uri: \'file:m\', digest: "{ONE}", trustRemoteCode: Never}}}}\n',
    ),
    "items of a list": (
        'spec:\n  recipe: "1"\n  feedback:\n  - uri: file:a\n    format: Jsonl\n  -   format: Jsonl\n      uri: file:b',
        to(),
        f'spec:\n  recipe: "1"\n  feedback:\n  - uri: file:a\n    digest: "{ONE}"\n    format: Jsonl\n'
        f'  -   format: Jsonl\n      uri: file:b\n      digest: "{ONE}"',
    ),
    "a comment above the first field stays above it": (
        "spec:   # everything\n  # the task\n  task: X\n  model: {uri: file:m, digest: " + ONE + "}\n",
        to(),
        'spec:   # everything\n  recipe: "1"\n  # the task\n  task: X\n  model: {uri: file:m, digest: ' + ONE + "}\n",
    ),
    "storage is no source": (
        'spec:\n  recipe: "1"\n  storage: {uri: file:///s}\n',
        to(),
        'spec:\n  recipe: "1"\n  storage: {uri: file:///s}\n',
    ),
    "a branch becomes its commit and stays as a comment": (
        'spec:\n  recipe: "1"\n  model:\n    uri: hf://a/b\n    revision: main\n',
        to(revision=COMMIT),
        f'spec:\n  recipe: "1"\n  model:\n    uri: hf://a/b\n    digest: "{ONE}"\n'
        f'    revision: "{COMMIT}"  # was main\n',
    ),
    "no revision: the commit is added": (
        'spec:\n  recipe: "1"\n  model:\n    uri: hf://a/b\n',
        to(revision=COMMIT),
        f'spec:\n  recipe: "1"\n  model:\n    uri: hf://a/b\n    digest: "{ONE}"\n    revision: "{COMMIT}"\n',
    ),
    "a tag becomes the artifact that it names": (
        'spec:\n  recipe: "1"\n  model:\n    uri: artifact://tags/judge-v3\n',
        to(digest=None, uri="artifact://" + "c" * 64),
        f'spec:\n  recipe: "1"\n  model:\n    uri: artifact://{"c" * 64}  # was artifact://tags/judge-v3\n',
    ),
    "an anchor is pinned once": (
        'spec:\n  recipe: "1"\n  one: &m\n    uri: file:m\n  two: *m\n',
        to(),
        f'spec:\n  recipe: "1"\n  one: &m\n    uri: file:m\n    digest: "{ONE}"\n  two: *m\n',
    ),
    "line ends of Windows": (
        "spec:\r\n  task: X\r\n  model:\r\n    uri: file:m\r\n",
        to(),
        f'spec:\r\n  recipe: "1"\r\n  task: X\r\n  model:\r\n    uri: file:m\r\n    digest: "{ONE}"\r\n',
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pins_are_written_where_they_belong_and_a_second_time_changes_nothing(name: str) -> None:
    text, resolve, expected = CASES[name]
    once = pinned(text, resolve, recipe="1", update=False)
    assert once == expected
    assert pinned(once, resolve, recipe="1", update=False) == once


def test_update_moves_on_from_the_name_in_the_comment() -> None:
    text = (
        f'spec:\n  recipe: "1"\n  model:\n    uri: hf://a/b\n    digest: "{ONE}"\n    revision: "{COMMIT}"  # was v2\n'
    )
    asked: list[Place] = []

    def resolve(place: Place) -> Wanted:
        asked.append(place)
        return Wanted(digest=TWO, revision=NEXT_COMMIT)

    updated = pinned(text, resolve, recipe="2", update=True)
    assert (asked[0].revision, asked[0].digest) == ("v2", None)
    assert updated == text.replace('"1"', '"2"').replace(ONE, TWO).replace(COMMIT, NEXT_COMMIT)


def test_update_of_a_tag_asks_for_the_tag_again() -> None:
    text = f'spec:\n  recipe: "1"\n  model:\n    uri: artifact://{"c" * 64}  # was artifact://tags/judge-v3\n'
    asked: list[str] = []

    def resolve(place: Place) -> Wanted:
        asked.append(place.uri)
        return Wanted(uri="artifact://" + "d" * 64)

    updated = pinned(text, resolve, recipe="1", update=True)
    assert asked == ["artifact://tags/judge-v3"]
    assert updated == text.replace("c" * 64, "d" * 64)


def test_a_file_without_a_spec_is_refused() -> None:
    with pytest.raises(UserError, match="spec: found no mapping"):
        pinned("kind: AlignmentRun\n", to(), recipe="1", update=False)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BORESIGHT_STORE", str(tmp_path / "store"))


def test_a_pinned_manifest_has_the_same_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_manifest_file(tmp_path)
    assert main(["plan", str(path), "-o", "json"]) == 0
    before = capsys.readouterr().out
    assert main(["pin", str(path)]) == 0
    assert "keys of 4 stages are known" in capsys.readouterr().out
    text = path.read_text()
    assert text.startswith("# a comment that stays\n")
    assert text.count("digest: ") == 2
    assert main(["plan", str(path), "-o", "json"]) == 0
    assert capsys.readouterr().out == before
    assert main(["pin", str(path)]) == 0
    assert path.read_text() == text
    assert "pinned already" in capsys.readouterr().out


def test_a_source_that_changed_since_it_was_pinned_is_an_error_until_update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = a_manifest_file(tmp_path)
    assert main(["pin", str(path)]) == 0
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write('{"prompt": "a", "response": "b", "critique": "c"}\n')
    text = path.read_text()
    assert main(["pin", str(path)]) == 1
    error = capsys.readouterr().err
    assert "first.yaml:" in error
    assert "the source changed. Restore it, or move on with --update" in error
    assert path.read_text() == text
    assert main(["pin", str(path), "--update"]) == 0
    assert path.read_text() != text
