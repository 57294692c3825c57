"""The chart, rendered by the real Helm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "boresight"
NAMESPACE = "boresight-system"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = dict[str, Any]
Values = Mapping[str, Any]


class Refused(Exception):
    """Helm did not render, and why."""


@dataclass(frozen=True)
class Rendering:
    """What a release consists of."""

    text: str

    @property
    def objects(self) -> list[Object]:
        """In Helm's order."""
        return [item for item in yaml.load_all(self.text, _LOADER) if item]

    def all(self, kind: str) -> list[Object]:
        """Those of one kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only one of a kind (and name). Raises ValueError if there is none, or are several."""
        (found,) = (item for item in self.all(kind) if name in {None, item["metadata"]["name"]})
        return found

    @property
    def settings(self) -> str:
        """The operator's settings file."""
        maps = [item for item in self.all("ConfigMap") if "settings.yaml" in item["data"]]
        text: str = maps[0]["data"]["settings.yaml"]
        return text


@dataclass(frozen=True)
class Helm:
    """A Helm executable with folders of its own."""

    program: Path
    home: Path

    def run(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What it prints. Raises :class:`Refused` with its message."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "HELM_DRIVER": "secret"}
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(
            [str(self.program), *arguments], input=stdin, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Refused(done.stderr.strip())
        return done.stdout

    def render(
        self,
        values: Values | None = None,
        *,
        release: str = "boresight",
        namespace: str = NAMESPACE,
        crds: bool = False,
    ) -> Rendering:
        """The release. The CRDs, 400 KB, only if asked for. Raises :class:`Refused`."""
        chosen = dict(values or {})
        if not crds:
            chosen.setdefault("crds", {"enabled": False})
        text = yaml.safe_dump(chosen)
        return Rendering(
            self.run("template", release, str(CHART), "--namespace", namespace, "--values", "-", stdin=text)
        )


def pods(rendering: Rendering) -> Iterator[Object]:
    """Every pod specification of a release."""
    for item in rendering.objects:
        if item["kind"] == "Deployment":
            yield item["spec"]["template"]["spec"]
        elif item["kind"] == "CronJob":
            yield item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif item["kind"] == "Pod":
            yield item["spec"]
