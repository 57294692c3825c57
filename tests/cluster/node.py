"""A node: a process in namespaces of its own, and in them containerd, kubelet and kube-proxy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster import network, plan
from cluster.credentials import Credentials
from cluster.host import CGROUPS, CNI_PLUGINS
from cluster.ledger import Ledger, wait_gone
from cluster.waiting import until

INIT = Path(__file__).with_name("node_init.sh")
SOCKET = "/run/containerd/containerd.sock"
MOUNT_POINTS = ("/var/lib/kubelet", "/var/lib/cni")
"""Of ``node_init.sh``, where this machine may have none."""


@dataclass(frozen=True)
class Node:
    """One of the cluster's nodes, by the ledger of what was started for it."""

    plan: plan.NodePlan
    folder: Path
    """All that it writes."""
    logs: Path
    programs: Path
    """The folder of kubelet and kube-proxy."""
    credentials: Credentials
    ledger: Ledger
    sandbox_image: str

    # -- coming up ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Namespaces, network, containerd. Raises TimeoutError or RuntimeError with the end of a log."""
        self._make_cgroups()
        self._write_files()
        (self.folder / "ready").unlink(missing_ok=True)
        namespaces = ("--pid", "--mount", "--net", "--ipc", "--uts", "--propagation", "private")
        command = ("unshare", "--fork", "--kill-child=KILL", *namespaces, "sh", INIT, self.plan.name, self.folder)
        self.ledger.start(self.plan.name, command, self._log("node"), plan.ENVIRONMENT)
        self._wait("node", (self.folder / "ready").exists)
        network.connect(self.plan, self.ledger.process(self.plan.name).child, self.ledger)
        self._start("containerd", "containerd", "--config", self.folder / "containerd.toml")
        self._wait("containerd", lambda: self.ctr("version", check=False).returncode == 0)

    def start_kubelet(self) -> None:
        """Again, too, after :meth:`kill_kubelet`."""
        kubeconfig = self.credentials.kubeconfig(f"kubelet-{self.plan.name}")
        self._start(
            "kubelet",
            self.programs / "kubelet",
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.plan.name}",
            f"--node-ip={self.plan.address}",
        )

    def start_proxy(self) -> None:
        """What makes Services of the cluster work on it."""
        self._start("kube-proxy", self.programs / "kube-proxy", f"--config={self.folder / 'kube-proxy.yaml'}")

    # -- using it ----------------------------------------------------------------------------------------------------

    def ctr(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """containerd's own client. Raises RuntimeError with what it says."""
        command = [*self._inside(), "ctr", "--address", SOCKET, "--namespace", "k8s.io", *map(str, arguments)]
        done = subprocess.run(command, env=plan.ENVIRONMENT, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(map(str, arguments))} on {self.plan.name}: {done.stderr.strip()}")
        return done

    def import_images(self, archive: Path) -> None:
        """Every image of a docker-archive."""
        self.ctr("images", "import", archive)

    def images(self) -> set[str]:
        """Names of the images that it has."""
        return set(self.ctr("images", "list", "--quiet").stdout.split())

    def kill_kubelet(self) -> None:
        """Its containers go on, as after a crash."""
        process = self.ledger.process(self._name("kubelet"))
        subprocess.run(["kill", "-KILL", str(process.child)], check=True)
        wait_gone([process])

    def kill_container(self, pod: Mapping[str, Any]) -> None:
        """SIGKILL to all processes of a pod's only container."""
        (status,) = pod["status"]["containerStatuses"]
        container = status["containerID"].removeprefix("containerd://")
        (group,) = (CGROUPS / "pids" / self.plan.cgroup).rglob(container)
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    # -- how ---------------------------------------------------------------------------------------------------------

    def _inside(self) -> tuple[str, ...]:
        pid = self.ledger.process(self.plan.name).child
        return ("nsenter", f"--target={pid}", "--net", "--mount", "--pid", "--ipc", "--uts", "--wd=/")

    def _start(self, service: str, *command: str | Path) -> None:
        self.ledger.start(self._name(service), (*self._inside(), *command), self._log(service), plan.ENVIRONMENT)

    def _name(self, service: str) -> str:
        return self.plan.name if service == "node" else f"{service}-{self.plan.name}"

    def _log(self, service: str) -> Path:
        return self.logs / f"{self._name(service)}.log"

    def _wait(self, service: str, ready: Callable[[], bool]) -> None:
        process = self.ledger.process(self._name(service))
        until(ready, self._name(service), process=process, log=self._log(service))

    def _make_cgroups(self) -> None:
        for hierarchy in sorted(CGROUPS.iterdir()):
            if hierarchy.is_dir() and not hierarchy.is_symlink():
                group = hierarchy / self.plan.cgroup
                self.ledger.cgroups.append(str(group))
                self.ledger.write()
                group.mkdir(exist_ok=True)
        for name in ("cpus", "mems"):  # a new group of cpuset has none, and takes no process
            own = CGROUPS / "cpuset" / f"cpuset.{name}"
            (CGROUPS / "cpuset" / self.plan.cgroup / f"cpuset.{name}").write_text(own.read_text())

    def _write_files(self) -> None:
        (self.folder / "cni").mkdir(parents=True)
        (self.folder / "resolv.conf").touch()  # of pods that take the node's: it asks nobody
        (self.folder / "containerd.toml").write_text(self._containerd_toml())
        (self.folder / "cni" / "10-bridge.conflist").write_text(json.dumps(self._cni()))
        for name, document in (("kubelet", self._kubelet()), ("kube-proxy", self._proxy())):
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def _containerd_toml(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""\
version = 2
root = "{self.folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{SOCKET}"
[{cri}]
sandbox_image = "{self.sandbox_image}"
restrict_oom_score_adj = true  # where root may not lower it
disable_apparmor = true
[{cri}.cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{self.folder}/cni"
[{cri}.containerd]
default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
"""

    def _cni(self) -> Mapping[str, Any]:
        addresses = {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": self.plan.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}

    def _kubelet(self) -> Mapping[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.credentials.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.plan.cgroup}",
            "failSwapOn": False,
            "clusterDNS": [plan.DNS_SERVICE],
            "clusterDomain": plan.DOMAIN,
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "resolvConf": str(self.folder / "resolv.conf"),
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
            # Images are imported, so that what is collected could not be pulled again.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "oomScoreAdj": 0,
            "readOnlyPort": 0,
            "seccompDefault": True,
        }

    def _proxy(self) -> Mapping[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self.credentials.kubeconfig("kube-proxy"))},
            "mode": "nftables",
            "clusterCIDR": plan.PODS,
            "hostnameOverride": self.plan.name,
            "oomScoreAdj": 0,
            "metricsBindAddress": "127.0.0.1:10249",
            "healthzBindAddress": "127.0.0.1:10256",
            # Settings of the whole machine, which are left alone.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
