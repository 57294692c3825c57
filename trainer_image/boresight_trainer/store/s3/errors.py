"""What an answer of an S3 store means to a user, and whose turn it is: the user's, or time's."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from boresight_api.outcome import FailureClass, StageFailure
from minio.error import S3Error

from .retry import is_distrust, summary

_CREDENTIALS = {
    "AccessDenied": "the key has no right to do this there: extend its policy",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the bucket's region",
    "ExpiredToken": "AWS_SESSION_TOKEN has expired: renew the Secret",
    "InvalidAccessKeyId": "the store knows no such AWS_ACCESS_KEY_ID: correct the Secret",
    "InvalidTokenId": "AWS_SESSION_TOKEN is not valid: renew the Secret",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID: correct the Secret",
}
_PLACES = {
    "NoSuchBucket": "make the bucket, or correct the uri that names it",
    "InvalidBucketName": "correct the uri that names it: s3://<bucket>/<prefix>",
    "PermanentRedirect": "set AWS_REGION to the bucket's region",
}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"}


def failure(error: Exception, action: str, place: str, endpoint: str, *, worked: bool) -> StageFailure:
    """``error`` as an end of the stage.

    ``worked``: the store has answered this process before. Credentials that worked and do no longer were rotated or
    have expired: the next attempt gets the new ones, so it is Infrastructure; those that never worked are the user's.
    """
    what = f"store: could not {action}: {place} at {endpoint}: {summary(error)}"
    if not isinstance(error, S3Error):
        if is_distrust(error):
            return StageFailure(
                FailureClass.INVALID_CONFIG,
                f"{what}; its certificate is not trusted: put its authority's certificate into compute.caBundle",
            )
        remedy = "see whether the endpoint is right and the store answers, then try again"
        return StageFailure(FailureClass.INFRASTRUCTURE, f"{what}; {remedy}")
    code = error.code or ""
    if code in _CREDENTIALS:
        kind = FailureClass.INFRASTRUCTURE if worked else FailureClass.INVALID_CONFIG
        return StageFailure(kind, f"{what}; {_CREDENTIALS[code]}")
    if code in _PLACES:
        return StageFailure(FailureClass.INVALID_CONFIG, f"{what}; {_PLACES[code]}")
    if code == "RequestTimeTooSkewed":
        return StageFailure(FailureClass.INFRASTRUCTURE, f"{what}; {_skew(error)}: set the clocks by NTP")
    if code in _FULL or error.response.status == 507:
        return StageFailure(
            FailureClass.INFRASTRUCTURE, f"{what}; the store is full: free space there (`boresight artifacts gc`)"
        )
    if code == "NoSuchUpload":
        return StageFailure(
            FailureClass.INFRASTRUCTURE,
            f"{what}; the store lost what it had of the file, as MinIO does when the store is full: free space there "
            "(`boresight artifacts gc`), or see its own log",
        )
    return StageFailure(FailureClass.INFRASTRUCTURE, f"{what}; see the store's own log")


def _skew(error: S3Error) -> str:
    """By how much this machine's clock differs from the store's, as the answer's Date header says."""
    date = error.response.headers.get("Date")
    if date is None:
        return "this machine's clock differs from the store's"
    seconds = round(time.time() - parsedate_to_datetime(date).timestamp())
    return f"this machine's clock is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} the store's"
