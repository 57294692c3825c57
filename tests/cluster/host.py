"""What the machine must be and have for a cluster, and who is asked to provide it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]

CNI_PLUGINS = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "busybox": "busybox-static",
}
"""Programs that are called, and the packages of Debian (and Ubuntu) that bring them."""


class Unfit(Exception):
    """This machine cannot hold a cluster as it is; says what to do about it."""


def make_fit(say: Say) -> None:
    """Install what is missing, as root with apt-get. Raises :class:`Unfit`."""
    refuse_the_unfit()
    packages = missing_packages()
    if not packages:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        raise Unfit(f"found no {', '.join(missing_programs())}: install what Debian calls {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    for arguments in (["apt-get", "update"], command):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unfit(f"{' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    if lacking := missing_programs():
        raise Unfit(f"found no {', '.join(lacking)} even after {' '.join(command)}")


def refuse_the_unfit() -> None:
    """Raises :class:`Unfit` for what no package changes."""
    if sys.platform != "linux":
        raise Unfit(f"found {sys.platform}, expected Linux: nodes are namespaces of its kernel")
    if os.geteuid() != 0:
        raise Unfit("expected root, who may make namespaces, networks and control groups: run it as root")
    if not (CGROUPS / "memory").is_dir():
        raise Unfit(f"found no {CGROUPS}/memory, expected control groups of version 1, which this was tried with")


def missing_programs() -> list[str]:
    """Those that are not there."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def missing_packages() -> list[str]:
    """Those that would bring them."""
    return sorted({PROGRAMS[program] for program in missing_programs()})
