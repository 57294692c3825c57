"""Requests of the plugin over real sockets: what is sent again, what is not, and through which proxy."""

from __future__ import annotations

import base64
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from boresight.cluster.api import NAMESPACES, PODS, Api, ApiError
from boresight.cluster.kubeconfig import Access, User
from boresight.errors import UserError
from boresight_trainer.store.proxies import make_pool
from builders_http import a_server


def an_api(server: str, **fields: Any) -> Api:
    return Api(Access("here", server, "team", User("me", token="t"), **fields))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_busy_server_is_asked_again_and_only_for_what_changes_nothing() -> None:
    codes = [429, 503, 200]
    with a_server(lambda _: (codes.pop(0), {"metadata": {"name": "x"}})) as (url, got):
        assert an_api(url).get(NAMESPACES, None, "x")["metadata"]["name"] == "x"
        assert len(got) == 3
    with a_server(lambda _: (503, {"message": "etcd is away", "reason": "Busy"})) as (url, got):
        with pytest.raises(ApiError, match=r"the API server is busy \(503: etcd is away\); try again"):
            an_api(url).merge(NAMESPACES, "", "x", {})
        assert len(got) == 1


def test_pages_are_read_to_the_end() -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, Any]:
        second = "continue=more" in request.path
        token = {} if second else {"continue": "more"}
        return 200, {"items": [{"metadata": {"name": "b" if second else "a"}}], "metadata": token}

    with a_server(answer) as (url, got):
        assert [item["metadata"]["name"] for item in an_api(url).list(NAMESPACES, None)] == ["a", "b"]
        assert "limit=500" in got[0].path


@pytest.mark.parametrize("name", ["a#b", "a?x=1", "a/b", "..", "a%2fb", "a b"])
def test_a_name_that_would_be_another_url_is_never_sent(name: str) -> None:
    with a_server(lambda _: (200, {})) as (url, got):
        for namespace, of in (("team", name), (name, "first")):
            with pytest.raises(UserError, match=r"found the name .*, expected letters, digits"):
                an_api(url).get(PODS, namespace, of)
        assert got == []


@pytest.mark.parametrize(
    ("message", "advised"),
    [
        ('pods is forbidden: User "ann" cannot create resource "pods" in API group ""', True),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', False),
        ('pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1', False),
    ],
)
def test_a_role_is_advised_where_a_right_is_missing_and_nowhere_else(message: str, advised: bool) -> None:
    refusal = {"message": message, "reason": "Forbidden"}
    with a_server(lambda _: (403, refusal)) as (url, _), pytest.raises(ApiError) as caught:
        an_api(url).create(PODS, "team", {})
    assert caught.value.message.startswith(message)
    assert ("ask for the role edit (to change something)" in caught.value.message) is advised


def test_a_redirect_is_not_followed_with_our_token() -> None:
    with a_server(lambda _: (302, b"moved")) as (url, got):
        with pytest.raises(UserError, match="found no JSON: is this an API server"):
            an_api(url).get(NAMESPACES, None, "x")
        assert len(got) == 1


@pytest.mark.parametrize("how", ["kubeconfig", "environment"])
def test_the_proxy_that_was_named_is_used(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_server(lambda _: (200, {"metadata": {"name": "x"}})) as (url, got):
        if how == "environment":
            monkeypatch.setenv("http_proxy", url)
        api = an_api("http://cluster.example:6443", proxy=url if how == "kubeconfig" else None)
        api.get(NAMESPACES, None, "x")
        assert got[0].path == "http://cluster.example:6443/api/v1/namespaces/x"
        assert got[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("server", "no_proxy", "through"),
    [
        ("https://cluster.example:6443", "", True),
        ("https://cluster.example:6443", "other.example,.example", False),
        ("https://10.96.0.1:443", "10.0.0.0/8", False),
        ("https://10.96.0.1:443", "name.example,192.168.0.0/16", True),
        ("https://[fd00::1]:443", "fd00::/8", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://localhost:6443", "", False),
    ],
)
def test_proxies_of_the_environment_are_meant_as_kubectl_means_them(
    server: str, no_proxy: str, through: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    pool = make_pool(server)
    assert (pool.proxy.url if pool.proxy else None) == ("http://proxy.example:3128" if through else None)


def test_the_account_of_a_proxy_is_shown_to_the_proxy_alone() -> None:
    with a_server(lambda _: (200, {"metadata": {"name": "x"}})) as (url, got):
        proxy = url.replace("//", "//ann:p%40ss@")
        an_api("http://cluster.example", proxy=proxy).get(NAMESPACES, None, "x")
        assert got[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'ann:p@ss').decode()}"
    with pytest.raises(UserError, match=r"proxy socks5://p:1080: expected an http:// or https:// proxy"):
        an_api("http://cluster.example", proxy="socks5://ann:secret@p:1080").get(NAMESPACES, None, "x")


def test_credentials_that_can_be_had_anew_are_tried_once_more(tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, Any]:
        if request.headers["authorization"] == "Bearer new":
            return 200, {"metadata": {"name": "x"}}
        token.write_text("new")
        return 401, {"message": "Unauthorized", "reason": "Unauthorized"}

    with a_server(answer) as (url, got):
        api = Api(Access("here", url, "team", User("me", token_file=token)))
        assert api.get(NAMESPACES, None, "x")["metadata"]["name"] == "x"
        assert len(got) == 2
    with a_server(lambda _: (401, {"message": "Unauthorized", "reason": "Unauthorized"})) as (url, got):
        with pytest.raises(ApiError, match="does not accept our credentials"):
            an_api(url).get(NAMESPACES, None, "x")
        assert len(got) == 1
