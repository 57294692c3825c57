"""What goes wrong with a bucket: who can help, what the message says, and that it never says a secret."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store.open import open_store
from boresight_trainer.store.s3 import client as client_module
from boresight_trainer.store.s3.client import make_client
from boresight_trainer.store.s3.retry import Retry
from boresight_trainer.telemetry.metrics import REGISTRY
from builders_store import KEY, a_manifest, publish
from minio.error import S3Error
from s3.builders_s3 import a_bucket_store, opened
from s3.minio_server import SECRET_KEY, MinioServer
from s3.proxy import Proxy, Request

CONFIG, INFRASTRUCTURE = FailureClass.INVALID_CONFIG, FailureClass.INFRASTRUCTURE
SECRET = "very-secret-value-0123456789"


@pytest.mark.parametrize(
    ("changes", "bucket_name", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, None, "InvalidAccessKeyId.*correct the Secret"),
        ({"AWS_SECRET_ACCESS_KEY": SECRET}, None, "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY does not belong to"),
        ({"AWS_SESSION_TOKEN": SECRET}, None, "Invalid.*correct the Secret|InvalidTokenId.*renew the Secret"),
        ({}, "there-is-none", r"s3://there-is-none/staging/probe-.*NoSuchBucket.*make the bucket, or correct"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, None, "found no AWS_SECRET_ACCESS_KEY in the environment"),
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:9000"}, None, r"storage\.endpoint: found .*expected http:// or https://"),
        ({"AWS_ENDPOINT_URL_S3": f"https://me:{SECRET}@host"}, None, r"found \"https://host\", expected http://"),
        ({"AWS_CA_BUNDLE": "/dev/null"}, None, "/dev/null: found no certificates"),
    ],
)
def test_what_only_the_user_can_put_right_is_an_invalid_config(
    minio: MinioServer,
    bucket: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    bucket_name: str | None,
    message: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StageFailure, match=message) as caught:
        opened({**minio.environment(), **changes}, f"s3://{bucket_name or bucket}", tmp_path).probe()
    assert caught.value.failure is CONFIG
    for secret in (SECRET, SECRET_KEY):
        assert secret not in caught.value.message
        assert secret not in caplog.text


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "s3://bucket/../other", "s3://bucket/a//x", "s3://b/x?y=1"])
def test_a_uri_that_is_no_bucket_and_prefix_is_refused(uri: str, minio: MinioServer, tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="expected s3://<bucket>/<prefix>") as caught:
        opened(minio.environment(), uri, tmp_path)
    assert caught.value.failure is CONFIG


def test_a_clock_that_is_wrong_is_said_with_the_difference(
    minio: MinioServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hour = client_module.utcnow, timedelta(hours=1)
    monkeypatch.setattr(client_module, "utcnow", lambda: now() + hour)
    wall = time.time
    monkeypatch.setattr("boresight_trainer.store.s3.errors.time.time", lambda: wall() + hour.total_seconds())
    with pytest.raises(
        StageFailure, match=r"RequestTimeTooSkewed.*clock is 3\d\d\d s ahead of the store's: set"
    ) as caught:
        opened(minio.environment(), f"s3://{bucket}", tmp_path).read("x")
    assert caught.value.failure is INFRASTRUCTURE


def test_a_store_that_is_away_is_waited_for_and_then_infrastructure(
    minio_program: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with MinioServer(minio_program, tmp_path / "server") as server:
        uri = f"s3://{server.bucket()}"
        publish(opened(server.environment(), uri, tmp_path / "a"))
        server.stop()
        pauses: list[float] = []

        def wait(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                server.start()

        patient = a_bucket_store(server.environment(), uri, tmp_path / "b", seconds=60, sleep=wait)
        assert patient.verify(KEY)
        assert len(pauses) >= 3
        server.stop()
        started = time.monotonic()
        with pytest.raises(StageFailure, match="see whether the endpoint is right and the store answers") as caught:
            a_bucket_store(server.environment(), uri, tmp_path / "c", seconds=1).manifest(KEY)
        assert caught.value.failure is INFRASTRUCTURE, "a store that does not answer is never missing"
        assert time.monotonic() - started < 3


def test_pauses_grow_are_random_and_end_at_the_deadline() -> None:
    now, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    def fail() -> None:
        raise ConnectionResetError

    counted = REGISTRY.get_sample_value("boresight_store_retries_total") or 0
    with pytest.raises(ConnectionResetError):
        Retry(60, clock=lambda: now[0], sleep=sleep).call("read", fail)
    assert REGISTRY.get_sample_value("boresight_store_retries_total") == counted + len(pauses)
    assert 40 <= sum(pauses) <= 60
    assert max(pauses) <= 10
    assert pauses[0] <= 0.2
    assert len({round(pause, 6) for pause in pauses}) == len(pauses) >= 8


def test_whatever_arrives_moves_the_deadline() -> None:
    now, arrived = [0.0], [0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def break_off() -> int:
        now[0] += 50
        if arrived[0] < 5:
            arrived[0] += 1
            raise ConnectionResetError
        return arrived[0]

    assert Retry(60, clock=lambda: now[0], sleep=sleep).call("read", break_off, lambda: arrived[0]) == 5
    arrived[0], now[0] = -100, 0.0
    with pytest.raises(ConnectionResetError):
        Retry(60, clock=lambda: now[0], sleep=sleep).call("read", break_off)


@pytest.mark.parametrize("answer", [503, 500, 429])
def test_an_overloaded_store_is_asked_again(minio: MinioServer, bucket: str, tmp_path: Path, answer: int) -> None:
    class Busy:
        """A client whose first two requests meet an overloaded store."""

        def __init__(self, store: object) -> None:
            self.calls, self.urlopen = 0, store._bucket._client._http.urlopen  # type: ignore[attr-defined]

        def __call__(self, method: str, url: str, **more: object) -> object:
            import urllib3

            self.calls += 1
            if self.calls <= 2:
                xml = b"<Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>"
                return urllib3.HTTPResponse(xml, {"Content-Type": "application/xml"}, status=answer)
            return self.urlopen(method, url, **more)

    store = a_bucket_store(minio.environment(), f"s3://{bucket}", tmp_path)
    busy = Busy(store)
    store._bucket._client._http.urlopen = busy
    store.write("tags/x.json", b"x")
    assert (busy.calls, store.read("tags/x.json")) == (3, b"x")


def test_credentials_that_worked_and_do_no_longer_are_for_the_next_attempt(minio: MinioServer, tmp_path: Path) -> None:
    bucket = minio.bucket()
    with minio.user("readwrite") as user:
        store = opened({**minio.environment(), **user.environment}, f"s3://{bucket}", tmp_path)
        store.probe()
        user.remove()
        with pytest.raises(StageFailure, match="InvalidAccessKeyId") as caught:
            store.write("tags/x.json", b"x")
    assert caught.value.failure is INFRASTRUCTURE


def test_a_session_token_is_sent(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    from minio.credentials import AssumeRoleProvider

    with minio.user("readwrite") as user:
        access, secret = user.environment["AWS_ACCESS_KEY_ID"], user.environment["AWS_SECRET_ACCESS_KEY"]
        role = AssumeRoleProvider(sts_endpoint=minio.url, access_key=access, secret_key=secret).retrieve()
        session = {
            "AWS_ACCESS_KEY_ID": role.access_key,
            "AWS_SECRET_ACCESS_KEY": role.secret_key,
            "AWS_SESSION_TOKEN": role.session_token or "",
        }
        opened({**minio.environment(), **session}, f"s3://{bucket}", tmp_path).probe()


def test_a_key_that_may_only_read_is_named_by_the_probe_and_may_read(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    publish(opened(minio.environment(), f"s3://{bucket}", tmp_path / "a"))
    with minio.user("readonly") as user:
        environment = {**minio.environment(), **user.environment}
        with pytest.raises(
            StageFailure, match=r"AccessDenied.*has no right to do this there: extend its policy"
        ) as caught:
            opened(environment, f"s3://{bucket}", tmp_path / "b").probe()
        assert caught.value.failure is CONFIG
        assert opened(environment, f"s3://{bucket}", tmp_path / "b").read(f"artifacts/{KEY}/manifest.json")


def test_a_full_store_is_said_and_nothing_is_published(minio_program: Path, tmp_path: Path) -> None:
    """MinIO in a user namespace of its own, where it may mount a small file system."""
    drive = tmp_path / "drive"
    drive.mkdir()
    mount = ["unshare", "--user", "--map-root-user", "--mount", "--kill-child", "sh", "-c"]
    script = f'mount -t tmpfs -o size=96m none {drive} && exec "$0" "$@"'
    if shutil.which("unshare") is None or subprocess.run([*mount, script, "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system in a namespace")
    with MinioServer(minio_program, tmp_path / "server", drive=drive, wrapper=[*mount, script]) as server:
        store = a_bucket_store(server.environment(), f"s3://{server.bucket()}", tmp_path / "near")
        full = r"the store is full: free space there \(`boresight artifacts gc`\)"  # MinIO says so, or loses the upload
        with pytest.raises(StageFailure, match=full) as caught, store.staging(KEY) as folder:
            (folder / "model.bin").write_bytes(os.urandom(120 << 20))
            store.publish(KEY, folder, a_manifest(folder))
        assert caught.value.failure is INFRASTRUCTURE
        assert store.keys() == []


def test_an_endpoint_that_is_no_store_is_said(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    import http.server
    import threading

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"<html")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{page.server_address[1]}"
        store = opened({**minio.environment(), "AWS_ENDPOINT_URL_S3": url}, f"s3://{bucket}", tmp_path)
        with pytest.raises(StageFailure, match="HTTP status 404; see whether the endpoint is right"):
            store.manifest(KEY)
        page.shutdown()


def test_a_proxy_of_the_environment_is_used_except_where_it_says_not(
    minio: MinioServer, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_path(request: Request) -> None:
        request.path = "/" + request.path.split("/", 3)[3]

    far = {**minio.environment(), "AWS_ENDPOINT_URL_S3": "http://store.example:9000"}
    with Proxy(minio, before=to_path) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//ann:p%40ss@"))
        monkeypatch.setenv("no_proxy", "localhost,10.0.0.0/8")
        opened(far, f"s3://{bucket}", tmp_path).probe()
        account = f"Basic {base64.b64encode(b'ann:p@ss').decode()}"
        assert {request.headers["proxy-authorization"] for request in proxy.seen} == {account}
        proxy.seen.clear()
        opened(minio.environment(), f"s3://{bucket}", tmp_path).probe()
        assert not proxy.seen, "this machine is never far"
    with pytest.raises(StageFailure, match=r"proxy socks5://p:1080: expected an http:// or https:// proxy") as caught:
        monkeypatch.setenv("http_proxy", "socks5://ann:secret@p:1080")
        opened(far, f"s3://{bucket}", tmp_path)
    assert caught.value.failure is FailureClass.INVALID_CONFIG


@pytest.mark.parametrize(("no_proxy", "through"), [("10.0.0.0/8", False), ("store.example,192.168.0.0/16", True)])
def test_a_network_may_be_named_that_no_proxy_is_for(
    no_proxy: str, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    pool = make_client("https://10.96.0.1:9000", None, {})._http
    assert (pool.proxy is not None) is through


def test_aws_is_addressed_by_host_and_anything_else_by_path() -> None:
    def url(endpoint: str | None) -> str:
        client = make_client(endpoint, None, {"AWS_REGION": "eu-north-1"})
        return str(
            client._base_url.build(method="GET", region="eu-north-1", bucket_name="models", object_name="a/b").geturl()
        )

    assert url(None) == "https://models.s3.eu-north-1.amazonaws.com/a/b"
    assert url("https://minio.storage:9000") == "https://minio.storage:9000/models/a/b"


def test_the_bucket_of_aws_needs_no_endpoint(tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert open_store("s3://models/x", cache=tmp_path, environment=keys).uri == "s3://models/x"


def test_an_unknown_code_is_not_hidden(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    store = opened(minio.environment(), f"s3://{bucket}", tmp_path)
    with pytest.raises(StageFailure, match="XMinioInvalidObjectName") as caught:
        store.write("a//b", b"x")
    assert caught.value.failure is INFRASTRUCTURE
    assert isinstance(caught.value.__cause__, S3Error)
