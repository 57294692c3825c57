"""Through which proxy a server is reached: a store, or (for `kubectl boresight`) an API server.

As Go decides it, and with it kubectl and most of what runs in clusters, which is a little otherwise than Python: this
machine is never reached through a proxy, ``NO_PROXY`` may name networks, and a proxy's URL may hold an account.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3


class ProxyError(ValueError):
    """There is no such kind of proxy. The message says which kinds there are, and nothing of its account."""


def make_pool(server: str, *, proxy: str | None = None, **options: Any) -> urllib3.PoolManager:
    """Connections to the URL ``server``, with these options for urllib3: through ``proxy``, else as the environment
    says (``HTTPS_PROXY`` or ``HTTP_PROXY``, and ``NO_PROXY``). Raises :class:`ProxyError`."""
    chosen = proxy or _of_environment(server)
    if chosen is None:
        return urllib3.PoolManager(**options)
    if not chosen.startswith(("http://", "https://")):
        shown = re.sub("//.*@", "//", chosen)
        raise ProxyError(f"proxy {shown}: expected an http:// or https:// proxy")
    account = urlsplit(chosen).netloc.rpartition("@")[0]
    headers = urllib3.make_headers(proxy_basic_auth=unquote(account)) if account else None
    return urllib3.ProxyManager(chosen, proxy_headers=headers, **options)


def _of_environment(server: str) -> str | None:
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
