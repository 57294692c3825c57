"""What the API server can answer other than success. Each kind has its rule (:mod:`.client` and :mod:`.reconcile`)."""

from __future__ import annotations


class ApiError(Exception):
    """An answer with an error code. ``message`` is the API server's."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class NotFound(ApiError):  # noqa: N818 Kubernetes' own names
    """404."""


class AlreadyExists(ApiError):  # noqa: N818
    """409 with reason AlreadyExists."""


class Conflict(ApiError):  # noqa: N818
    """409 otherwise: what was decided on is not what is stored. Observe again."""


class Gone(ApiError):  # noqa: N818
    """410: list again."""


class Forbidden(ApiError):  # noqa: N818
    """403: RBAC, quota, Pod Security, a webhook, or a namespace that ends."""


class Invalid(ApiError):  # noqa: N818
    """400 or 422: the API server will never take it as it is."""


class Unavailable(ApiError):  # noqa: N818
    """429, 5xx, or no answer, after all retries that are safe. ``retry_after`` in seconds, if the server said so."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(code, reason, message)
        self.retry_after = retry_after


class LeaseOver(Exception):  # noqa: N818
    """A write was refused locally: this process may not hold the Lease any more."""
