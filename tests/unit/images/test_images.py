"""The images' recipes: what each may contain, as whom it runs, and who builds it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
SHARED = {"pydantic", "pyyaml", "click", "urllib3"}
"""Requirements of the command that what the operator requires brings, too: kopf needs click, kubernetes urllib3."""
RECIPES = {"operator": "operator/Dockerfile", "trainer": "trainer_image/Dockerfile"}


def instructions(image: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of a Dockerfile, continued lines joined."""
    lines = [line for line in (REPOSITORY / RECIPES[image]).read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.splitlines() if line)]


@pytest.mark.parametrize("image", RECIPES)
def test_the_base_is_an_argument(image: str) -> None:
    first, *rest = instructions(image)
    assert first[0] == "ARG"
    assert first[1].startswith("BASE=")
    stages = {arguments.partition(" AS ")[2] for word, arguments in rest if word == "FROM"}
    for word, arguments in rest:
        if word == "FROM":
            assert arguments.partition(" AS ")[0] in {"${BASE}", *stages}


@pytest.mark.parametrize(("image", "command"), [("operator", "boresight-operator"), ("trainer", "boresight-trainer")])
def test_the_last_stage_runs_our_command_as_nobody_in_particular(image: str, command: str) -> None:
    last = instructions(image)
    last = last[max(i for i, (word, _) in enumerate(last) if word == "FROM") :]
    said = dict(last)
    assert said["USER"] == "65532:65532"
    assert said["ENTRYPOINT"] == f'["{command}"]'
    assert command in PROJECT["scripts"]
    assert "RUN" not in said
    if image == "trainer":
        assert "USER=" in said["ENV"]  # torch asks; who has no entry in /etc/passwd has a name only by this
    assert [word for word, _ in last if word in {"COPY", "ARG"}][-2:] == ["ARG", "ARG"]  # a commit keeps the layers


@pytest.mark.parametrize("image", RECIPES)
def test_what_is_copied_exists_and_is_let_into_the_context(image: str) -> None:
    patterns = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in patterns if line.startswith("!")]
    for word, arguments in instructions(image):
        if word == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert (REPOSITORY / source).exists()
                assert any(entry == source or entry.startswith(f"{source}/") for entry in allowed), source


def test_the_operator_has_no_torch_and_no_code_of_the_trainer() -> None:
    copied = [arguments for word, arguments in instructions("operator") if word == "COPY"]
    assert not [source for source in copied if "trainer_image" in source or "cli" in source]
    wanted = wanted_by("operator")
    assert not [line for line in wanted if re.match(r"torch|transformers|deepspeed", line)]
    assert "kopf==1.45.2" in wanted


def wanted_by(extra: str) -> list[str]:
    program = REPOSITORY / "images" / "wanted.py"
    done = subprocess.run([sys.executable, str(program), extra], cwd=REPOSITORY, capture_output=True, check=True)
    return done.stdout.decode().split("\n")[:-1]


def test_an_image_wants_what_the_project_says_and_no_more() -> None:
    extras = PROJECT["optional-dependencies"]
    assert wanted_by("operator") == extras["operator"]
    assert wanted_by("trainer") == [*PROJECT["dependencies"], *extras["trainer"]]


def test_the_operator_imports_nothing_that_its_image_lacks() -> None:
    """In a process of its own, with the requirements of the command hidden."""
    hidden = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in PROJECT["dependencies"]} - SHARED
    assert {"rich", "minio"} <= hidden
    program = f"import sys; sys.modules.update(dict.fromkeys({sorted(hidden)})); import boresight_operator.main"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_requirement_has_its_version_in_the_lock() -> None:
    locked = {line.partition("==")[0] for line in (REPOSITORY / "requirements.lock").read_text().splitlines()}
    for extra in ("operator", "trainer"):
        assert {re.split(r"[^A-Za-z0-9-]", line)[0] for line in wanted_by(extra)} <= locked


# -- who builds --------------------------------------------------------------------------------------------------------


def build(folder: Path, *tools: str, images: tuple[str, ...] = ("operator",), **variables: str) -> Any:
    """Run images/build.sh where only ``tools`` are (each prints how it is called); ``docker!`` has no daemon."""
    for tool in tools:
        fails = 'if [ "$1" = info ]; then exit 1; fi\n' if tool.endswith("!") else ""
        path = folder / tool.rstrip("!")
        path.write_text(f'#!/bin/sh\n{fails}echo "{path.name} $*"\n')
        path.chmod(0o755)
    for tool in ("sed", "awk", "git", "dirname", "bash", "sh"):
        (folder / tool).symlink_to(f"/usr/bin/{tool}" if Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}")
    command = ["/bin/bash", str(REPOSITORY / "images" / "build.sh"), *images]
    return subprocess.run(command, env={"PATH": str(folder), **variables}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("tools", "variables", "chosen"),
    [
        (("docker", "podman", "buildah"), {}, "docker"),
        (("docker!", "podman", "buildah"), {}, "podman"),
        (("docker!", "buildah"), {}, "buildah"),
        (("docker", "buildah"), {"BUILDER": "buildah"}, "buildah"),
    ],
)
def test_images_are_built_by_what_is_there(tmp_path: Path, tools: Any, variables: Any, chosen: str) -> None:
    done = build(tmp_path, *tools, **variables)
    assert done.returncode == 0, done.stderr
    call = next(line for line in done.stdout.splitlines() if " build " in line)
    assert call.startswith(f"{chosen} build ")
    assert call.endswith(f"--file operator/Dockerfile --tag boresight-operator:{PROJECT['version']} .")


def test_base_registry_and_flags_are_passed_on(tmp_path: Path) -> None:
    variables = {"BASE": "own/base:1", "REGISTRY": "example.com/ml", "IMAGE_FLAGS": "--isolation chroot"}
    done = build(tmp_path, "buildah", images=("operator", "trainer"), **variables)
    calls = [line for line in done.stdout.splitlines() if " build " in line]
    assert all("--build-arg BASE=own/base:1" in call and "--isolation chroot" in call for call in calls)
    assert [call.split("--tag ")[1].split(":")[0] for call in calls] == [
        "example.com/ml/boresight-operator",
        "example.com/ml/boresight-trainer",
    ]


def test_without_a_builder_or_with_another_image_it_says_what_to_do(tmp_path: Path) -> None:
    done = build(tmp_path, "docker!")
    assert (done.returncode, "install one of them" in done.stderr) == (1, True)
    (tmp_path / "more").mkdir()
    done = build(tmp_path / "more", "buildah", images=("cli",))
    assert (done.returncode, "expected operator or trainer" in done.stderr) == (64, True)
