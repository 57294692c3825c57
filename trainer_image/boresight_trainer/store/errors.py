"""What an error of the operating system means to a user: which file, what failed, what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boresight_api.outcome import FailureClass, StageFailure

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free space there, or name another `storage.uri`",
    errno.EDQUOT: "the quota is used up: free space there, or name another `storage.uri`",
    errno.EROFS: "the file system is read-only: mount it writable, or name another `storage.uri`",
    errno.EACCES: "permission is missing: give this user write access, or name another `storage.uri`",
    errno.EPERM: "the operation is not allowed there: give this user write access, or name another `storage.uri`",
    errno.ENOTDIR: "a file stands where a folder is expected: move it away, or name another `storage.uri`",
    errno.ENAMETOOLONG: "the path is too long: name a shorter `storage.uri`",
}


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn every ``OSError`` inside into a :class:`StageFailure` (Infrastructure) that says what to do.

    A store that does not answer is Infrastructure, never "missing": the caller asks for missing files itself.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "see whether the store is mounted and answers, then try again")
        where = error.filename if isinstance(error.filename, str) else path
        raise StageFailure(
            FailureClass.INFRASTRUCTURE, f"store: could not {action}: {where}: {error.strerror or error}; {remedy}"
        ) from error
