"""HTTP over real sockets on the loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiohttp import web
from boresight_operator import http
from boresight_operator.credentials import Credentials
from boresight_operator.http import HttpTransport, fetch_bounded
from builders_kubeconfig import write_kubeconfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that answers everything with ``handler``."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


async def send(transport: HttpTransport, method: str = "GET", path: str = "/api", **rest: Any) -> Any:
    defaults: dict[str, Any] = {"query": {}, "headers": {}, "body": None, "timeout_seconds": 5}
    return await transport.request(method, path, **{**defaults, **rest})


def test_a_request_goes_out_as_it_was_asked_for_and_the_answer_comes_whole(kubeconfig: Path) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers.get("Authorization"), await request.read()))
        return web.Response(status=201, body=b"x" * 300_000, headers={"Retry-After": "3"})

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                query = {"labelSelector": "a=b,c in (d)", "continue": "x+/="}
                answer = await send(transport, "POST", "/apis/x", query=query, body=b"{}", headers={"accept": "json"})
        assert (answer.code, len(answer.body), answer.headers["retry-after"]) == (201, 300_000, "3")

    asyncio.run(main())
    method, path, authorization, body = seen[0]
    assert (method, authorization, body) == ("POST", "Bearer abc", b"{}")
    assert path == "/apis/x?labelSelector=a%3Db,c+in+(d)&continue=x%2B/%3D"


def test_connections_are_kept(kubeconfig: Path) -> None:
    ports: set[Any] = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                for _ in range(10):
                    await send(transport)

    asyncio.run(main())
    assert len(ports) == 1


def test_tls_with_the_clusters_ca_and_our_certificate(
    kubeconfig: Path, certificates: Path, server_tls: ssl.SSLContext
) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        seen.append(request.transport.get_extra_info("peercert")["subject"])
        return web.Response()

    async def main() -> None:
        async with serving(handler, server_tls) as url:
            files = {
                "client-certificate": str(certificates / "client.crt"),
                "client-key": str(certificates / "client.key"),
            }
            write_kubeconfig(kubeconfig, url, files, **{"certificate-authority": str(certificates / "ca.crt")})
            async with HttpTransport(Credentials()) as transport:
                assert (await send(transport)).code == 200
            write_kubeconfig(kubeconfig, url, files, **{"certificate-authority": str(certificates / "other.crt")})
            async with HttpTransport(Credentials()) as transport:
                with pytest.raises(ConnectionError, match="certificate"):
                    await send(transport)

    asyncio.run(main())
    assert seen == [((("commonName", "client"),),)]


def test_after_401_the_credentials_are_read_again_once(kubeconfig: Path) -> None:
    seen: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=200 if seen[-1] == "Bearer new" else 401)

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "old"})
            async with HttpTransport(Credentials()) as transport:
                assert (await send(transport)).code == 401
                assert seen == ["Bearer old"] * 2
                write_kubeconfig(kubeconfig, url, {"token": "new"})
                assert (await send(transport)).code == 200
                assert (await send(transport)).code == 200
        assert seen[2:] == ["Bearer old", "Bearer new", "Bearer new"]

    asyncio.run(main())


def test_a_redirect_is_not_followed(kubeconfig: Path) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                assert (await send(transport)).code == 302
            with pytest.raises(ConnectionError, match="302"):
                await fetch_bounded(f"{url}/progress", seconds=2, max_bytes=100)

    asyncio.run(main())
    assert seen == ["/api", "/progress"]


def test_proxy_variables_are_not_for_us(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"direct")

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                assert (await send(transport)).body == b"direct"
            assert await fetch_bounded(url, seconds=2, max_bytes=100) == b"direct"

    asyncio.run(main())


def test_nobody_there_a_cut_and_silence_are_lost_answers(kubeconfig: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/silent":
            await asyncio.sleep(30)
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async def main() -> None:
        async with serving(handler) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                with pytest.raises(ConnectionError, match="GET"):
                    await send(transport, path="/cut")
                with pytest.raises(TimeoutError):
                    await send(transport, path="/silent", timeout_seconds=0.2)
        async with HttpTransport(Credentials()) as transport:
            with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
                await send(transport)

    asyncio.run(main())


@pytest.mark.parametrize("declared", [True, False])
def test_an_answer_that_is_too_large_is_given_up(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1000)

    async def main() -> None:
        async with serving(large(2_000_000, declared)) as url:
            write_kubeconfig(kubeconfig, url, {"token": "abc"})
            async with HttpTransport(Credentials()) as transport:
                with pytest.raises(ConnectionError, match="more than 1000 bytes"):
                    await send(transport)

    asyncio.run(main())


def large(size: int, declared: bool) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        if declared:
            return web.Response(body=b"x" * size)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(size // 1000):
            await response.write(b"x" * 1000)
        return response

    return handler


# One GET from a pod that may be hostile


def fetched(handler: Handler, **bounds: Any) -> Any:
    """What a fetch returns or raises, and the seconds it took."""

    async def main() -> Any:
        async with serving(handler) as url:
            begun = monotonic()
            try:
                result: object = await fetch_bounded(url, **{"seconds": 0.5, "max_bytes": 65_536, **bounds})
            except (OSError, TimeoutError) as error:
                result = error
            return result, monotonic() - begun

    return asyncio.run(main())


def test_a_small_answer_is_fetched() -> None:
    result, _ = fetched(large(65_536 // 1000 * 1000, declared=False))
    assert len(result) == 65_000


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_one_is_not(declared: bool) -> None:
    result, _ = fetched(large(10_000_000, declared))
    assert isinstance(result, ConnectionError)
    assert "more than 65536 bytes" in str(result)


@pytest.mark.parametrize("code", [201, 204, 302, 404, 500])
def test_any_other_code_is_an_error(code: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=code)

    result, _ = fetched(handler)
    assert f"found code {code}" in str(result)


def test_a_drip_of_bytes_ends_with_the_time() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.1)
        return response

    result, took = fetched(handler)
    assert isinstance(result, TimeoutError)
    assert took < 1.5


def test_silence_ends_with_the_time() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    result, took = fetched(handler)
    assert isinstance(result, TimeoutError)
    assert took < 1.5


def test_compressed_bytes_stay_compressed() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=b"\x1f\x8b not gzip", headers={"Content-Encoding": "gzip"})

    result, _ = fetched(handler)
    assert result == b"\x1f\x8b not gzip"


def test_endless_headers_are_an_error() -> None:
    async def main() -> None:
        async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 4000) for n in range(10_000)))
            writer.close()

        server = await asyncio.start_server(raw, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises((OSError, TimeoutError)):
                await fetch_bounded(f"http://127.0.0.1:{port}", seconds=1, max_bytes=1000)

    asyncio.run(main())


def test_what_speaks_no_http_is_an_error() -> None:
    async def main() -> None:
        async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\xff rubbish\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(raw, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(OSError, match=r"127\.0\.0\.1"):
                await fetch_bounded(f"http://127.0.0.1:{port}", seconds=1, max_bytes=1000)

    asyncio.run(main())
