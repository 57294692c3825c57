"""HTTP, all that the operator does of it: requests to the API server, and one bounded GET from a training pod."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from .api import Answer
from .credentials import Connection, Credentials

MAX_ANSWER_BYTES = 192 * 2**20
"""A page of the largest objects that etcd stores (1.5 MiB each; :data:`.client.PAGE_ITEMS` of them) fits."""
CONNECT_SECONDS = 3.0
KEEP_ALIVE_SECONDS = 60.0


class HttpTransport:
    """:class:`.api.Transport` over aiohttp, with kept connections. How many are open is the caller's to bound."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Answer:
        """One request; after 401 (nothing was done then) a second one with credentials read anew. Raises OSError or
        TimeoutError if there is no whole answer."""
        connection = self._credentials.connection()
        answer = await self._send(connection, method, path, query, headers, body, timeout_seconds)
        if answer.code == 401:
            if self._credentials.connection() == connection:
                self._credentials.reload()
            connection = self._credentials.connection()
            answer = await self._send(connection, method, path, query, headers, body, timeout_seconds)
        return answer

    async def _send(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Answer:
        assert self._session is not None, "used outside of its context"
        own = {"authorization": f"{connection.scheme} {connection.token}"} if connection.token else {}
        url = URL(connection.server + path)
        try:
            async with self._session.request(
                method,
                url.with_query(dict(query)) if query else url,
                headers={**headers, **own},
                data=body,
                ssl=self._credentials.ssl_context() if url.scheme == "https" else True,
                proxy=connection.proxy_url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS),
            ) as response:
                content = await _read(response, MAX_ANSWER_BYTES)
                return Answer(
                    response.status, {name.lower(): value for name, value in response.headers.items()}, content
                )
        except TimeoutError:
            raise
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{method} {connection.server}{path}: {error or type(error).__name__}") from error


async def fetch_bounded(url: str, *, seconds: float, max_bytes: int) -> bytes:
    """GET from a host that may be hostile: no redirects, proxies, cookies, decompression or kept connection, and an end
    after ``seconds`` whatever it does.

    Raises OSError (connection, any code but 200, more than ``max_bytes``), or TimeoutError.
    """
    async with asyncio.timeout(seconds), AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session(aiohttp.TCPConnector(limit=1, force_close=True)))
        try:
            response = await stack.enter_async_context(session.get(url, allow_redirects=False))
            if response.status != 200:
                raise ConnectionError(f"{url}: found code {response.status}, expected 200")
            return await _read(response, max_bytes)
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{url}: {error or type(error).__name__}") from error


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "boresight-operator", "accept-encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body. A declared length is believed only where it is too large."""
    chunks, size = [], response.content_length or 0
    if size <= max_bytes:
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                break
    if size > max_bytes:
        response.close()
        raise ConnectionError(f"{response.url}: the answer has more than {max_bytes} bytes")
    return b"".join(chunks)
