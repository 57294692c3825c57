"""What a run needs beside a cluster: MinIO, Prometheus, and Boresight as its chart installs it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml
from apiserver.client import until
from boresight_operator.api import PODS, Resource
from cluster.cluster import MANIFESTS, Cluster
from cluster.images import Image, base
from cluster.python_images import images as python_images
from cluster.python_images import mounted
from kits.chart import CHART, NAMESPACE, Helm
from kits.go_programs import Say
from kits.minio_program import MINIO
from kits.monitoring_programs import PROMETHEUS
from kits.programs import HELM, executable
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioException

BUCKET = "alignment"
RELEASE = "boresight"
ENDPOINT = "http://minio.storage:9000"
"""As pods know it."""
DATA = "/data"
"""Where pods see the ConfigMap ``data`` of their namespace."""
ROOT_KEY = ("boresight-tests", "boresight-tests-secret")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
USER = 65532


@dataclass(frozen=True)
class Stack:
    """Everything installed."""

    cluster: Cluster
    helm: Helm
    operator: Image
    trainer: Image
    values: Mapping[str, Any] = field(default_factory=dict)

    # -- the chart ---------------------------------------------------------------------------------------------------

    def upgrade(self, **values: Any) -> None:
        """``helm upgrade --install`` with further values, and wait until the operator is ready."""
        text = yaml.safe_dump({**self.values, **values})
        common = ("--namespace", NAMESPACE, "--create-namespace", "--values", "-", "--wait", "--timeout", "180s")
        self.helm.run(
            "upgrade", "--install", RELEASE, str(CHART), *common, stdin=text, kubeconfig=self.cluster.kubeconfig
        )

    def uninstall(self) -> None:
        """``helm uninstall``, and wait until the operator has ended."""
        self.helm.run("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", kubeconfig=self.cluster.kubeconfig)
        until(lambda: not self.operator_pods(), "no operator runs", seconds=60)

    def operator_pods(self) -> list[dict[str, Any]]:
        """Its replicas."""
        labels = "app.kubernetes.io/name=boresight-operator"
        return self.cluster.client.list(PODS, NAMESPACE, labels=labels)

    # -- MinIO -------------------------------------------------------------------------------------------------------

    @property
    def minio_url(self) -> str:
        """As this machine knows it."""
        return f"http://{self._service('storage', 'minio')}:9000"

    def minio_client(self) -> Minio:
        """With the administrator's key."""
        pool = urllib3.PoolManager(retries=False, timeout=5)
        host = self.minio_url.removeprefix("http://")
        return Minio(host, *ROOT_KEY, secure=False, region="us-east-1", http_client=pool)

    def scale_minio(self, replicas: int) -> None:
        """0 takes the store away, 1 brings it back with all that it held; returns when that is so."""
        self.cluster.client.merge(DEPLOYMENTS, "storage", "minio", {"spec": {"replicas": replicas}})

        def settled() -> bool:
            pods = self.cluster.client.list(PODS, "storage", labels="app=minio")
            return len(pods) == replicas and (not replicas or self.minio_answers())

        until(settled, f"{replicas} MinIO", seconds=90)

    def new_key(self, prefix: str) -> tuple[str, str]:
        """A key for what is below one prefix of the bucket, with the rights that docs/storage.md names."""
        objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        statements = [
            {"Effect": "Allow", "Action": objects, "Resource": [f"arn:aws:s3:::{BUCKET}/{prefix}/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{BUCKET}"]},
        ]
        host, provider = self.minio_url.removeprefix("http://"), StaticProvider(*ROOT_KEY)
        admin = MinioAdmin(endpoint=host, credentials=provider, secure=False, cert_check=False)
        name, secret = f"{prefix}-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        admin.user_add(name, secret)
        admin.policy_add(name, policy={"Version": "2012-10-17", "Statement": statements})
        admin.attach_policy([name], user=name)
        return name, secret

    def minio_answers(self) -> bool:
        """Whether it does what it is for."""
        try:
            self.minio_client().list_buckets()
        except (urllib3.exceptions.HTTPError, MinioException):
            return False
        return True

    # -- Prometheus --------------------------------------------------------------------------------------------------

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that Prometheus finds now."""
        url = f"http://{self._service('monitoring', 'prometheus')}:9090/api/v1/query"
        answer = urllib3.request("POST", url, fields={"query": expression}, retries=False, timeout=10)
        document = json.loads(answer.data)
        if document["status"] != "success":
            raise ValueError(f"{expression}: {document['error']}")
        return [(series["metric"], float(series["value"][1])) for series in document["data"]["result"]]

    def prometheus_answers(self) -> bool:
        """Whether it has scraped something."""
        try:
            return bool(self.query("up"))
        except urllib3.exceptions.HTTPError:
            return False

    def _service(self, namespace: str, name: str) -> str:
        found: str = self.cluster.client.call("GET", f"/api/v1/namespaces/{namespace}/services/{name}")["spec"][
            "clusterIP"
        ]
        return found


def install(cluster: Cluster, say: Say) -> Stack:
    """Install what is not there yet. Raises what failed."""
    helm = Helm(executable(HELM, say), cluster.folder)
    server = base()
    server.file(executable(MINIO, say), "minio")
    collector = base()
    collector.file(executable(PROMETHEUS, say), "prometheus")
    minio = Image("minio", (server,), entrypoint=("/minio",))
    prometheus = Image("prometheus", (collector,), entrypoint=("/prometheus",))
    operator, trainer = python_images()
    cluster.load((minio, prometheus, operator, trainer))
    drive = cluster.folder / "minio"
    if not drive.exists():
        drive.mkdir()
        os.chown(drive, USER, USER)
    access_key, secret_key = ROOT_KEY
    cluster.apply(
        MANIFESTS / "minio.yaml", image=minio.reference, access_key=access_key, secret_key=secret_key, folder=str(drive)
    )
    cluster.apply(MANIFESTS / "prometheus.yaml", image=prometheus.reference)
    stack = Stack(cluster, helm, operator, trainer, _values(operator, trainer, mounted()))
    stack.upgrade()
    until(stack.minio_answers, "MinIO", seconds=60)
    if not stack.minio_client().bucket_exists(BUCKET):
        stack.minio_client().make_bucket(BUCKET)
    until(stack.prometheus_answers, "Prometheus", seconds=60)
    return stack


def _values(operator: Image, trainer: Image, environment: Path) -> dict[str, Any]:
    """Of the chart: small pods without devices, whose trainer is mounted."""
    return {
        "image": {"repository": operator.repository, "tag": operator.tag, "pullPolicy": "Never"},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "monitoring": {
            "prometheus": {
                "namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"},
                "podLabels": {"app.kubernetes.io/name": "prometheus"},
            }
        },
        "settings": {
            "progressIntervalSeconds": 1,
            "defaults": {
                "image": trainer.reference,
                "devicesPerNode": 0,
                "queueCPUStages": True,
                "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
                "prepareResources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
                "gracePeriodSeconds": 30,
                "allowedImages": ["boresight.test/*"],
                "podTemplate": {
                    "volumes": [
                        {"name": "trainer", "persistentVolumeClaim": {"claimName": "trainer", "readOnly": True}},
                        {"name": "data", "configMap": {"name": "data", "optional": True}},
                    ],
                    "volumeMounts": [
                        {"name": "trainer", "mountPath": str(environment), "readOnly": True},
                        {"name": "data", "mountPath": DATA, "readOnly": True},
                    ],
                    "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "HF_HUB_OFFLINE", "value": "1"}],
                },
            },
        },
    }
