"""What goes wrong between ``kubectl boresight`` and a cluster: one clear line each, no traceback, a documented code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from apiserver import identity
from apiserver.client import SERVICE_ACCOUNTS
from apiserver.control_plane import ControlPlane, free_port
from apiserver.identity import OWN_NAMESPACE
from apiserver.plugin import Plugin, Said
from apiserver.world import World
from boresight.cluster.kinds import RUNS
from boresight.main import plugin as group
from click.shell_completion import ShellComplete


def completed(line: str) -> list[str]:
    """What a shell offers for the last word of a line."""
    *words, last = line.split()
    found = ShellComplete(group, {}, "kubectl boresight", "_X").get_completions(words, last)
    return [item.value for item in found]


def one_line(said: Said, code: int) -> str:
    """The error. Raises AssertionError if there is more than it."""
    assert said.code == code, said
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


def test_a_run_that_is_not_there_gets_near_names(world: World, plugin: Plugin) -> None:
    world.evaluation("beta-01", suspend=True)
    world.alignment("other", suspend=True)
    line = one_line(plugin("status", "beta-1"), 1)
    assert f"found no run beta-1 in namespace {world.namespace} (context test); did you mean beta-01?" in line
    assert "runs there: beta-01, other" in one_line(plugin("status", "x"), 1)
    assert "runs there: beta-01, other" in one_line(plugin("logs", "x"), 1)


def test_one_name_of_two_kinds_has_to_be_said_whole(world: World, plugin: Plugin) -> None:
    world.evaluation("twin", suspend=True)
    world.synthesis("twin", suspend=True)
    assert "say feedbacksynthesis/twin or evalrun/twin" in one_line(plugin("status", "twin"), 1)
    assert plugin.ok("status", "eval/twin").startswith("EvalRun ")
    assert plugin.ok("status", "feedbacksyntheses/twin").startswith("FeedbackSynthesis ")
    assert plugin("status", f"{world.namespace}/nothing").code == 1


def test_an_empty_namespace_and_a_missing_one_are_told_apart(plugin: Plugin) -> None:
    assert plugin.ok("list").split() == ["NAMESPACE", "NAME", "KIND", "STATUS", "STAGE", "PROGRESS", "STARTED"]
    assert f"no runs in namespace {plugin.namespace}" in one_line(plugin("status"), 1)
    missing = replace(plugin, namespace="nowhere")
    for words in (("list",), ("status",), ("status", "first")):
        line = one_line(missing(*words), 1)
        assert "found no namespace nowhere in context test; name another with -n" in line


def test_who_may_not_look_is_told_what_to_ask_for(plane: ControlPlane, world: World, plugin: Plugin) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    world.client.apply(SERVICE_ACCOUNTS, OWN_NAMESPACE, account)
    token = identity.token(world.client, "nobody")
    nobody = replace(plugin, kubeconfig=plane.kubeconfig("nobody", token))
    line = one_line(nobody("list"), 1)
    assert 'User "system:serviceaccount:boresight-system:nobody" cannot list resource "alignmentruns"' in line
    assert "ask for the role view (to look) in that namespace" in line
    assert token not in line


def test_a_token_that_is_not_accepted(plane: ControlPlane, plugin: Plugin) -> None:
    expired = replace(plugin, kubeconfig=plane.kubeconfig("expired", "expired-token"))
    line = one_line(expired("list"), 1)
    assert "does not accept our credentials (context test, user user): they are wrong or have expired; log in" in line
    assert "expired-token" not in line


def test_an_api_server_that_is_not_there(plane: ControlPlane, plugin: Plugin) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    away = replace(plugin, kubeconfig=plane.kubeconfig("away", "token", url=url))
    for words in (("list",), ("status", "first"), ("wait", "first", "--timeout", "9s")):
        assert f"{url} (context test) does not answer: Connection refused" in one_line(away(*words), 75)


def test_a_server_that_is_not_trusted(plane: ControlPlane, plugin: Plugin, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(plugin.kubeconfig.read_text().replace(str(plane.ca), str(plane.folder / "accounts.pub")))
    said = replace(plugin, kubeconfig=config)("list")
    assert "authorities or client certificate cannot be read" in one_line(said, 1)
    config.write_text(plugin.kubeconfig.read_text().replace('"certificate-authority"', '"other"'))
    line = one_line(replace(plugin, kubeconfig=config)("list"), 75)
    assert "its certificate is not trusted" in line
    assert "correct certificate-authority" in line


def test_a_cluster_without_our_kinds(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is the real server's, for a group that it does not have."""
    unknown = tuple(replace(kind, group="elsewhere.dev") for kind in RUNS)
    monkeypatch.setattr("boresight.cluster.source.RUNS", unknown)
    for words in (("list",), ("status", "first"), ("status",)):
        line = one_line(plugin(*words), 1)
        assert "the cluster of context test does not know Boresight's kinds: install the chart" in line


def test_debug_shows_where_an_error_came_from(plugin: Plugin) -> None:
    assert "Traceback" in plugin("--debug", "status", "first")


def test_names_that_a_shell_completes(world: World, plugin: Plugin, plane: ControlPlane) -> None:
    world.evaluation("beta-01", suspend=True)
    world.synthesis("beta-02", suspend=True)
    world.synthesis("other", suspend=True)
    where = f"--kubeconfig {plugin.kubeconfig} -n {plugin.namespace}"
    assert completed(f"status {where} beta") == ["beta-01", "beta-02"]
    assert completed(f"artifacts ls {where} --run ot") == ["other"]
    away = plane.kubeconfig("nobody-there", "token", url=f"https://127.0.0.1:{free_port()}")
    assert completed(f"status --kubeconfig {away} be") == [], "and no error in the middle of a line"
