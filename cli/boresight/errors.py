"""Failures that a user can do something about: one clear message, no traceback."""

from __future__ import annotations

INVALID_CONFIG = 64
"""Exit code for a manifest with a fault; the same as ``boresight_api.outcome.ExitCode``, which is slow to import."""

UNREACHABLE = 75
"""Exit code for an API server that does not answer, or a store that cannot be used: trying again later may help."""
TIMED_OUT = 124
"""Exit code of `wait` when the time is over, as of timeout(1)."""


class UserError(Exception):
    """Ends the command with ``message`` on stderr and ``exit_code``.

    The message names the file or field, what was found, what was expected and what to do.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
