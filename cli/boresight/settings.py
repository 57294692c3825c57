"""Where things lie on this machine when nobody says otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

STORE_VARIABLE = "BORESIGHT_STORE"


def data_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The user's data folder by the platform's convention (XDG base directories; Application Support on macOS)."""
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "boresight"
    base = environment.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "boresight"


def default_store(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> str:
    """URI of the store when neither ``--store`` nor the manifest names one: ``$BORESIGHT_STORE`` or the data folder."""
    named = environment.get(STORE_VARIABLE)
    return store_uri(named) if named else (data_folder(environment, platform) / "store").as_uri()


def store_uri(text: str) -> str:
    """``text`` as the URI of a store: a URI stays as it is, a plain path becomes ``file://`` and absolute."""
    return (
        text.rstrip("/") if "://" in text or text.startswith("file:") else Path(text).expanduser().absolute().as_uri()
    )


def store_folder(uri: str) -> Path:
    """The folder of a ``file://`` store. Raises :class:`UserError` for other schemes: a local run needs a folder."""
    from urllib.parse import unquote, urlsplit

    from .errors import UserError

    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise UserError(
            f"--store: found {uri}, expected a folder or file:///absolute/path; runs on this machine keep their "
            "artifacts in a folder"
        )
    folder = Path(unquote(parts.path))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--store: found the file {folder}, expected a folder; name another one")
    return folder
