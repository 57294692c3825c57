"""Kueue, for the tests in a cluster: its controller, and the manifests that its module carries."""

from __future__ import annotations

from pathlib import Path

from kits.go_programs import GoProgram, module_folder

KUEUE = GoProgram(
    name="kueue",
    folder=Path(__file__).parent / "kueue",
    module="sigs.k8s.io/kueue",
    takes="3 to 5 minutes",
    package="sigs.k8s.io/kueue/cmd/kueue",
)


def manifests() -> Path:
    """A folder for kustomize."""
    return module_folder(KUEUE.module, KUEUE.folder) / "config" / "default"
