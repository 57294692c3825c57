"""A Kubernetes of two nodes on this machine: up in seconds, and gone without a trace."""

from __future__ import annotations

import fcntl
import shutil
import string
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apiserver.client import Client
from cluster import host, network, plan
from cluster.credentials import ADMIN, Credentials
from cluster.images import Image, base, busybox, write_archive
from cluster.ledger import Ledger
from cluster.node import MOUNT_POINTS, Node
from cluster.servers import Servers
from cluster.waiting import until
from kits.go_programs import Say
from kits.kubernetes_programs import ClusterPrograms, find_or_build

MANIFESTS = Path(__file__).with_name("manifests")
MACHINE_WIDE = (
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)
"""Settings that a kubelet makes as it likes them."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up."""

    folder: Path
    programs: ClusterPrograms
    credentials: Credentials
    nodes: Sequence[Node]

    @property
    def kubeconfig(self) -> Path:
        """An administrator's."""
        return self.credentials.kubeconfig(ADMIN)

    @property
    def client(self) -> Client:
        """An administrator's."""
        return Client(plan.API_URL, self.credentials.ca, self.credentials.token())

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What it prints. Raises RuntimeError with what it says."""
        done = subprocess.run(
            [str(self.programs.kubernetes / "kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**plan.ENVIRONMENT, "HOME": str(self.folder)},
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: Path, **values: str) -> None:
        """A file of objects, its ``$names`` filled in."""
        self.kubectl("apply", "--filename=-", stdin=string.Template(manifest.read_text()).substitute(values))

    def load(self, images: Iterable[Image]) -> None:
        """Bring images onto all nodes, those that are not there yet."""
        wanted = list(images)
        there = set.intersection(*(node.images() for node in self.nodes))
        if lacking := [image for image in wanted if image.reference not in there]:
            _import(self.folder, self.nodes, lacking)

    def ready(self) -> bool:
        """Whether every node is, and names can be looked up."""
        nodes = self.client.call("GET", "/api/v1/nodes")["items"]
        dns = self.client.call("GET", "/apis/apps/v1/namespaces/kube-system/deployments/coredns")
        conditions = [{c["type"]: c["status"] for c in item["status"]["conditions"]} for item in nodes]
        up = len(nodes) == len(plan.NODES) and all(found.get("Ready") == "True" for found in conditions)
        return up and dns["status"].get("availableReplicas") == 1


def find(folder: Path) -> Cluster | None:
    """The one that runs, if one does and is sound."""
    ledger = Ledger.read(folder / "ledger.json")
    if ledger is None or not all(process.runs for process in ledger.processes):
        return None
    cluster = _cluster(folder, find_or_build(lambda line: None), ledger)
    try:
        return cluster if cluster.ready() else None
    except OSError:
        return None


def up(folder: Path, say: Say) -> Cluster:
    """The one that runs, or a new one in the place of what is left of another.

    Raises :class:`.host.Unfit` or what failed, and then leaves nothing behind but logs.
    """
    host.make_fit(say)
    programs = find_or_build(say)
    with _alone(folder):
        if (found := find(folder)) is not None:
            return found
        _down(folder)
        ledger = Ledger(folder / "ledger.json")
        try:
            return _bring_up(folder, programs, ledger, say)
        except BaseException:
            ledger.undo()
            raise


def down(folder: Path) -> bool:
    """End it and undo what it changed. Whether there was one. Raises TimeoutError if something does not go."""
    with _alone(folder):
        return _down(folder)


def _down(folder: Path) -> bool:
    ledger = Ledger.read(folder / "ledger.json")
    if ledger is not None:
        ledger.undo()
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return ledger is not None


def _bring_up(folder: Path, programs: ClusterPrograms, ledger: Ledger, say: Say) -> Cluster:
    started = time.monotonic()
    ledger.sysctls = {name: Path("/proc/sys", *name.split(".")).read_text() for name in MACHINE_WIDE}
    ledger.folders = [path for path in MOUNT_POINTS if not Path(path).exists()]
    ledger.write()
    for path in ledger.folders:
        Path(path).mkdir(parents=True)
    cluster = _cluster(folder, programs, ledger)
    (folder / "logs").mkdir()
    cluster.credentials.make()
    network.make_bridge(ledger)
    for node in cluster.nodes:
        node.boot()
    pause, shell, coredns = _images(programs)
    with ThreadPoolExecutor(1) as beside:
        imported = beside.submit(_import, folder, cluster.nodes, (pause, shell, coredns))
        Servers(folder, folder / "logs", programs.kubernetes, cluster.credentials, ledger).start()
        imported.result()
    for node in cluster.nodes:
        node.start_kubelet()
        node.start_proxy()
    cluster.apply(MANIFESTS / "coredns.yaml", image=coredns.reference, address=plan.DNS_SERVICE, domain=plan.DOMAIN)
    until(cluster.ready, f"the cluster (logs are in {folder / 'logs'})")
    say(f"two nodes are ready after {time.monotonic() - started:.1f} s")
    return cluster


def _cluster(folder: Path, programs: ClusterPrograms, ledger: Ledger) -> Cluster:
    credentials = Credentials(folder / "credentials")
    pause, _, _ = _images(programs)
    nodes = tuple(
        Node(each, folder / each.name, folder / "logs", programs.kubernetes, credentials, ledger, pause.reference)
        for each in plan.NODES
    )
    return Cluster(folder, programs, credentials, nodes)


def _images(programs: ClusterPrograms) -> tuple[Image, Image, Image]:
    """What a cluster cannot be without: what holds a pod's namespaces, a shell, its names."""
    shell = shell_image()
    server = base()
    server.file(programs.coredns, "coredns")
    return (
        Image("pause", shell.layers, entrypoint=("/bin/tail", "-f", "/dev/null")),
        shell,
        Image("coredns", (server,), entrypoint=("/coredns",)),
    )


def shell_image() -> Image:
    """For pods that a test looks around with."""
    return Image("busybox", (busybox(),), command=("sh",))


def _import(folder: Path, nodes: Sequence[Node], images: Sequence[Image]) -> None:
    archive = folder / "images.tar"
    write_archive(images, archive)
    with ThreadPoolExecutor(len(nodes)) as pool:
        for _ in pool.map(lambda node: node.import_images(archive), nodes):
            pass
    archive.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of two that start or stop a cluster at once, one waits."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
