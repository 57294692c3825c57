"""kubectl itself finds the plugin, hands it its words and environment, and asks it what completes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from apiserver.control_plane import ControlPlane
from apiserver.plugin import PROGRAM, Plugin
from apiserver.world import World


@pytest.fixture
def kubectl(plane: ControlPlane, plugin: Plugin, tmp_path: Path) -> list[str]:
    """The command, with the plugin in its ``PATH``."""
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    given = {"PATH": path, "HOME": str(tmp_path), "KUBECONFIG": str(plugin.kubeconfig)}
    return ["env", "-i", *(f"{name}={value}" for name, value in given.items()), str(plane.assets / "kubectl")]


def said(command: list[str], *words: str) -> tuple[int, str]:
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_kubectl_runs_it(world: World, kubectl: list[str]) -> None:
    world.evaluation("seen", suspend=True)
    code, out = said(kubectl, "boresight", "list", "-n", world.namespace)
    assert code == 0
    assert out.splitlines()[1].split()[:4] == [world.namespace, "seen", "EvalRun", "Suspended"]
    code, out = said(kubectl, "boresight", "status", "sene", "-n", world.namespace)
    assert (code, "did you mean seen?" in out) == (1, True)
    assert "Usage: kubectl boresight " in said(kubectl, "boresight", "--help")[1]


def test_kubectl_completes_it(world: World, kubectl: list[str]) -> None:
    world.evaluation("beta-01", suspend=True)
    code, out = said(kubectl, "__complete", "boresight", "status", "-n", world.namespace, "be")
    assert code == 0
    assert out.splitlines()[:2] == ["beta-01", ":4"]
    assert said(kubectl, "__complete", "boresight", "sus")[1].startswith("suspend")
