"""A machine that cannot hold a cluster is told why, and what to do about it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import host
from cluster.host import Unfit, make_fit


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine to which nothing but programs is missing."""
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(host, "CGROUPS", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return monkeypatch


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Every program is there but these."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/bin/{name}")


def test_another_system_another_user_and_other_control_groups_are_refused(fit: pytest.MonkeyPatch) -> None:
    without(fit)
    with fit.context() as other, pytest.raises(Unfit, match="found darwin, expected Linux"):
        other.setattr(sys, "platform", "darwin")
        make_fit(pytest.fail)
    with fit.context() as other, pytest.raises(Unfit, match="run it as root"):
        other.setattr("os.geteuid", lambda: 1000)
        make_fit(pytest.fail)
    with fit.context() as other, pytest.raises(Unfit, match="expected control groups of version 1"):
        other.setattr(host, "CGROUPS", Path("/nowhere"))
        make_fit(pytest.fail)


def test_a_machine_that_has_everything_is_left_as_it_is(fit: pytest.MonkeyPatch) -> None:
    without(fit)
    fit.setattr(subprocess, "run", pytest.fail)
    make_fit(pytest.fail)


def test_what_is_missing_is_named_with_its_packages_where_there_is_no_apt_get(fit: pytest.MonkeyPatch) -> None:
    without(fit, "apt-get", "ctr", "containerd", "nft")
    with pytest.raises(Unfit, match=r"found no containerd, ctr, nft: install .* containerd nftables$"):
        make_fit(pytest.fail)


def test_apt_get_installs_what_is_missing_and_its_refusal_is_passed_on(fit: pytest.MonkeyPatch) -> None:
    without(fit, "runc")
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, int("install" in command), "", "E: no such package")

    fit.setattr(subprocess, "run", run)
    said: list[str] = []
    with pytest.raises(Unfit, match="E: no such package"):
        make_fit(said.append)
    assert said == ["installing runc"]
    assert asked == [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "runc"]]
