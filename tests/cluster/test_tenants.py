"""A cluster that others share: restricted namespaces, and what a neighbour gets to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apiserver.client import CLUSTER_ROLES, ROLE_BINDINGS, SERVICE_ACCOUNTS, ApiError, Client, Object
from boresight_operator.api import ALIGNMENT_RUNS, JOBS, PODS, Resource
from cluster import plan
from cluster.cluster import shell_image
from cluster.first_run import STAGES, FirstRun
from cluster.stack import BUCKET
from cluster.tenants import RealTenant
from minio import Minio
from minio.error import S3Error

SECRETS = Resource("", "v1", "secrets", "Secret")


@pytest.fixture(scope="module")
def neighbour(tenants: Callable[[str], RealTenant]) -> RealTenant:
    """Another tenant of the same cluster and bucket."""
    return tenants("neighbour")


@pytest.fixture(scope="module")
def member(neighbour: RealTenant) -> Client:
    """Somebody with no other right than to edit the neighbour's namespace."""
    client, namespace = neighbour.client, neighbour.namespace
    client.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "member"}})
    binding = {
        "metadata": {"name": "member"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "member", "namespace": namespace}],
    }
    client.create(ROLE_BINDINGS, namespace, binding)
    path = SERVICE_ACCOUNTS.path(namespace, "member", "token")
    token = client.call("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    return Client(plan.API_URL, neighbour.stack.cluster.credentials.ca, token)


def test_the_namespace_of_a_run_refuses_what_is_not_restricted(team: RealTenant, first: FirstRun) -> None:
    container = {"name": "lax", "image": shell_image().reference, "command": ["true"]}
    lax = {"metadata": {"name": "lax"}, "spec": {"containers": [container]}}
    with pytest.raises(ApiError, match='violates PodSecurity "restricted') as refused:
        team.client.create(PODS, team.namespace, lax)
    assert refused.value.code == 403
    assert all(team.pods(first.run, stage) for stage in STAGES), "those of the run were taken"


def test_the_pods_of_a_run_hold_no_token_and_cannot_write_to_their_root(team: RealTenant, first: FirstRun) -> None:
    for pod in team.pods(first.run):
        assert not [v for v in pod["spec"]["volumes"] if "kube-api-access" in v["name"]]
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_who_may_edit_a_namespace_runs_runs_there(member: Client, neighbour: RealTenant) -> None:
    theirs = RealTenant(member, neighbour.namespace, neighbour.stack, neighbour.environment)
    run = theirs.start_run("mine", stopAfter="Prepare")
    theirs.await_stage(run, "prepare", "Succeeded", seconds=120)
    with pytest.raises(ApiError) as refused:
        theirs.write_status(run, {})
    assert refused.value.code == 403, "the status is the operator's"


def test_a_neighbour_reads_neither_the_secret_nor_the_runs_of_another(
    member: Client, team: RealTenant, first: FirstRun
) -> None:
    name, pod = first.run["metadata"]["name"], team.pods(first.run)[0]["metadata"]["name"]
    asked: list[Callable[[], Object | list[Object]]] = [
        lambda: member.get(SECRETS, team.namespace, "boresight-storage"),
        lambda: member.list(SECRETS, team.namespace),
        lambda: member.list(SECRETS),
        lambda: member.get(ALIGNMENT_RUNS, team.namespace, name),
        lambda: member.list(ALIGNMENT_RUNS, team.namespace),
        lambda: member.list(ALIGNMENT_RUNS),
        lambda: member.list(JOBS, team.namespace),
        lambda: member.call("GET", PODS.path(team.namespace, pod, "log")),
        lambda: member.get(CLUSTER_ROLES, None, "boresight-operator-runs"),
    ]
    for ask in asked:
        with pytest.raises(ApiError) as refused:
            ask()
        assert refused.value.code == 403


def test_a_run_gets_no_further_into_another_tenants_part_of_the_bucket_than_its_key_does(
    neighbour: RealTenant, team: RealTenant, first: FirstRun
) -> None:
    storage = {"uri": f"s3://{BUCKET}/{team.namespace}"}
    run = neighbour.start_run("reaching-over", storage=storage, stopAfter="Prepare")
    failed = neighbour.await_condition(run, "Succeeded", "False", seconds=120)
    assert failed["reason"] == "InvalidConfig"
    assert "AccessDenied" in neighbour.now(run)["status"]["stages"][0]["message"]


def test_the_key_of_a_namespace_cannot_be_spent_elsewhere(neighbour: RealTenant, team: RealTenant) -> None:
    own = Minio(
        neighbour.stack.minio_url.removeprefix("http://"),
        neighbour.environment["AWS_ACCESS_KEY_ID"],
        neighbour.environment["AWS_SECRET_ACCESS_KEY"],
        secure=False,
        region="us-east-1",
    )
    with pytest.raises(S3Error, match="AccessDenied"):
        own.get_object(BUCKET, f"{team.namespace}/artifacts/x/manifest.json")
