"""Certificates of a run's own (``compute.caBundle``) beside the system's, for every library of this process.

OpenSSL, urllib and httpx read one file named by ``SSL_CERT_FILE``, and that *instead of* the system's; so both are put
into one.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

import certifi
from boresight_api.outcome import FailureClass, StageFailure

BUNDLE_VARIABLE = "BORESIGHT_CA_BUNDLE"
_READERS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""OpenSSL, urllib and httpx; requests; what calls curl."""


def trust_own_authorities(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let this process trust the bundle that ``BORESIGHT_CA_BUNDLE`` names, if any, beside what it trusts already.

    Raises :class:`StageFailure` (InvalidConfig) if that file holds no certificates.
    """
    bundle = environment.get(BUNDLE_VARIABLE)
    if not bundle:
        return
    try:
        own = Path(bundle).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=bundle)
    except OSError as error:  # ssl's errors are OSErrors
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"{BUNDLE_VARIABLE}: found no certificates in {bundle} ({error}), expected PEM: correct the file; in a "
            "cluster, the key of the ConfigMap that compute.caBundle names",
        ) from error
    system = Path(environment.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or certifi.where())
    with tempfile.NamedTemporaryFile("wb", prefix="boresight-ca-", suffix=".pem", delete=False) as file:
        file.write(system.read_bytes() + b"\n" + own)
    environment.update(dict.fromkeys(_READERS, file.name))
