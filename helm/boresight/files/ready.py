"""`helm test`: exits 0 when the operator at ADDRESS has its caches and a replica leads; else says why, after a minute.

Each request is a new connection, so that a Service of several replicas shows each of them sooner or later.
"""

import sys
import time
import urllib.request


def problem(address):
    """What is wrong; None if all is well."""
    try:
        urllib.request.urlopen(f"{address}/readyz", timeout=3).read()
        metrics = urllib.request.urlopen(f"{address}/metrics", timeout=3).read().decode()
    except OSError as error:
        return f"{error}; see the logs of the operator's pods"
    if "\nboresight_operator_build_info{" not in metrics:
        return "what answers is not the operator"
    if "\nboresight_leader 1.0\n" not in metrics:
        return "no replica leads; see the Lease and the logs of the operator's pods"
    return None


def main(address, seconds):
    end = time.monotonic() + seconds
    while (found := problem(address)) and time.monotonic() < end:
        time.sleep(0.5)
    sys.exit(f"{address}: {found}" if found else 0)


main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
