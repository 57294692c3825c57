"""What a pod template may not say because it is ours, or would take a pod out of what we say of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from boresight_api.podtemplate import PodTemplate
from boresight_api.problems import Problem

PREFIX = "boresight-"
"""Of the names of our volumes."""
ROOT = "/etc/boresight"
"""Where our files are mounted."""
_LABELS = re.compile(
    r"([a-z0-9.-]*\.)?(boresight\.dev|batch\.kubernetes\.io|kueue\.x-k8s\.io)/|(job-name|controller-uid)$"
)
"""Ours, the Job controller's, and Kueue's (a pod with a queue of its own would be queued twice)."""
_ANNOTATIONS = re.compile(r"([a-z0-9.-]*\.)?boresight\.dev/|[a-z0-9.-]*\.security\.(alpha|beta)\.kubernetes\.io/")
"""Ours, and the old way to switch AppArmor or seccomp off."""
_PATHS = (ROOT, "/dev/termination-log", "/var/run/secrets", "/proc", "/sys")


def reserved(template: PodTemplate, volumes: Collection[str]) -> Iterator[Problem]:
    """Faults of a pod template, with paths relative to it. ``volumes`` are the names that its mounts may use."""
    for key in template.labels:
        if _LABELS.match(key):
            yield Problem(f"labels[{key}]", "a reserved label", "a label of your own", "remove it")
    for key in template.annotations:
        if _ANNOTATIONS.match(key):
            yield Problem(f"annotations[{key}]", "a reserved annotation", "one of your own", "remove it")
    for index, volume in enumerate(template.volumes):
        if volume.name.startswith(PREFIX):
            yield Problem(f"volumes[{index}].name", f'"{volume.name}"', f"a name without {PREFIX}", "rename it")
    for index, mount in enumerate(template.volume_mounts):
        path = f"volumeMounts[{index}]"
        if mount.name not in volumes:
            yield Problem(f"{path}.name", f'"{mount.name}"', "a volume of this pod template", "add it to volumes")
        if _covers(mount.mount_path):
            advice = "mount it elsewhere, such as /data"
            yield Problem(f"{path}.mountPath", f'"{mount.mount_path}"', "a path that is not ours", advice)


def _covers(path: str) -> bool:
    """Whether a mount lies in, at or over a path that is not a run's."""
    place = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if ".." in place.split("/"):
        return True
    return any(f"{ours}/".startswith(f"{place.rstrip('/')}/") or f"{place}/".startswith(f"{ours}/") for ours in _PATHS)
