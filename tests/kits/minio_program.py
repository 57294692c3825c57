"""MinIO, for the tests of the S3 store. ``python -m kits.minio_program`` (``make miniokit``) builds it.

``MINIO`` names another executable.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kits.go_programs import GoProgram
from kits.programs import executable

MINIO = GoProgram(
    name="minio",
    folder=Path(__file__).parent / "minio",
    module="github.com/minio/minio",
    takes="2 to 4 minutes",
    package="github.com/minio/minio",
)


def main() -> int:
    """Build it if need be, and print where it is."""
    try:
        print(executable(MINIO, lambda line: print(line, file=sys.stderr, flush=True)))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"miniokit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
