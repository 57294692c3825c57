"""Requests are repeated with growing, random pauses until a deadline. What is repeated must not matter."""

from __future__ import annotations

import logging
import random as randomness
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from ...telemetry.metrics import STORE_RETRIES

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
_LOST = (urllib3.exceptions.HTTPError, OSError)
_BUSY = {
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "XMinioServerNotInitialized",
}
_STATUSES = {429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Retry:
    """Until ``seconds`` have gone since the first try. Pauses are drawn evenly from nothing to twice the last limit."""

    seconds: float = 180.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: randomness.Random = field(default_factory=randomness.Random)

    def call(self, action: str, request: Callable[[], T], progress: Callable[[], int] = int) -> T:
        """The answer to ``request``. Raises its last error once the deadline is near or if repeating is of no use.

        Deadline and pauses count from the start, or from the last failure that found ``progress`` further on.
        """
        end, number, reached = self.clock() + self.seconds, 0, progress()
        while True:
            try:
                return request()
            except (*_LOST, S3Error, ServerError, InvalidResponseError) as error:
                if progress() > reached:
                    end, number, reached = self.clock() + self.seconds, 0, progress()
                pause = self.random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(number, 10)))
                if not passes(error) or self.clock() + pause > end:
                    raise
                log.warning("store: could not %s (%s); again in %.1f s", action, summary(error), pause)
                STORE_RETRIES.inc()
                self.sleep(pause)
                number += 1


def passes(error: Exception) -> bool:
    """Whether an error may be gone if one waits."""
    if isinstance(error, S3Error):
        return error.code in _BUSY or error.response.status in _STATUSES
    if isinstance(error, ServerError):
        return error.status_code in _STATUSES
    if isinstance(error, InvalidResponseError):
        return error._code in _STATUSES
    return isinstance(error, _LOST) and not is_distrust(error)


def is_distrust(error: BaseException) -> bool:
    """Whether TLS failed because the server's certificate is not trusted."""
    import ssl

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        reason = seen.args[-1] if seen.args and isinstance(seen.args[-1], BaseException) else None
        seen = seen.__cause__ or reason
    return False


def summary(error: Exception) -> str:
    """One line that holds no credential: codes and the library's own words for a lost connection."""
    if isinstance(error, S3Error):
        return f"{error.code}: {error.message}" if error.message else str(error.code)
    if isinstance(error, InvalidResponseError):
        return f"HTTP status {error._code}"
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
