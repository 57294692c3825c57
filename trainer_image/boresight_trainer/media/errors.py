"""What is wrong with a medium, said so that its owner can put it right."""

from __future__ import annotations


class MediaError(Exception):
    """A medium cannot be used. Says what was found, what was expected and what to do."""

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(f"found {found}, expected {expected}: {remedy}")
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str, str]]:
        return type(self), (self.found, self.expected, self.remedy)  # it travels between processes

    def of(self, name: str) -> MediaError:
        """The same complaint about the medium that people know as ``name``."""
        return MediaError(f"{name}: {self.found}", self.expected, self.remedy)
