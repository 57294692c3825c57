"""Through which proxy the API server is reached. Go, and with it kubectl, decides a little otherwise than Python."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from ..errors import UserError
from .kubeconfig import Access


def make_pool(access: Access, **options: Any) -> urllib3.PoolManager:
    """Connections to the API server, with these options for urllib3. Raises :class:`UserError` for another proxy."""
    proxy = access.proxy or _of_environment(access.server)
    if proxy is None:
        return urllib3.PoolManager(**options)
    if not proxy.startswith(("http://", "https://")):
        shown = re.sub("//.*@", "//", proxy)
        raise UserError(f"context {access.context}: proxy {shown}: expected an http:// or https:// proxy")
    account = urlsplit(proxy).netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=unquote(account)) if account else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _of_environment(server: str) -> str | None:
    """``HTTPS_PROXY`` or ``HTTP_PROXY``, but not for this machine, nor for what ``NO_PROXY`` names."""
    url = urlsplit(server)
    host, proxies = url.hostname or "", getproxies()
    proxy = proxies.get(url.scheme)
    if not proxy or proxy_bypass(host) or _is_near(host, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_near(host: str, no_proxy: str) -> bool:
    """Whether it is this machine, or an address in a network of ``NO_PROXY``: Python knows names only."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for part in no_proxy.split(","):
        with suppress(ValueError):  # a name
            if address in ip_network(part.strip(), strict=False):
                return True
    return address.is_loopback
